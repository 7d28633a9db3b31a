// SPDX-License-Identifier: Apache-2.0
#include "base/result.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace vtpm {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument: return "invalid argument";
    case ErrorCode::not_found: return "not found";
    case ErrorCode::exists: return "exists";
    case ErrorCode::conflict: return "conflict";
    case ErrorCode::failed_precondition: return "failed precondition";
    case ErrorCode::busy: return "busy";
    case ErrorCode::permission: return "permission";
    case ErrorCode::unavailable: return "unavailable";
    case ErrorCode::unknown_outcome: return "unknown outcome";
    case ErrorCode::corrupt: return "corrupt";
    case ErrorCode::too_large: return "too large";
    case ErrorCode::full: return "full";
    case ErrorCode::timed_out: return "timed out";
    case ErrorCode::io: return "i/o";
    case ErrorCode::unsupported: return "unsupported";
    case ErrorCode::internal: return "internal";
  }
  return "internal";
}

tl::unexpected<Error> fail_errno(std::string_view what, int errnum, std::string hint) {
  ErrorCode code = ErrorCode::io;
  switch (errnum) {
    case EACCES:
    case EPERM: code = ErrorCode::permission; break;
    case ENOENT: code = ErrorCode::not_found; break;
    case EEXIST: code = ErrorCode::exists; break;
    case EBUSY: code = ErrorCode::busy; break;
    case ENOSPC:
    case EUSERS: code = ErrorCode::full; break;
    case ETIMEDOUT: code = ErrorCode::timed_out; break;
    default: break;
  }
  std::array<char, 128> text{};
  return fail(code, fmt::format("{}: {}", what, ::strerror_r(errnum, text.data(), text.size())),
              std::move(hint));
}

}  // namespace vtpm
