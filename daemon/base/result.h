// SPDX-License-Identifier: Apache-2.0
// Result<T>: how every module of the daemon reports failure. Nothing throws across a module's
// border.
//
// An Error says what went wrong in words a person can act on, and never holds a secret.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace vtpm {

enum class ErrorCode : std::uint8_t {
  invalid_argument,     // the caller's input is wrong; the same call never succeeds
  not_found,            // no such device, file or row
  exists,               // the name or uuid is taken
  conflict,             // somebody else changed it first: read again, then decide
  failed_precondition,  // right call, wrong state: the hint says what to do first
  busy,                 // in use or in transition; try again
  permission,           // the caller may not
  unavailable,          // a service or the kernel module is not there; certainly not done
  unknown_outcome,      // perhaps done, perhaps not: look before you retry
  corrupt,              // stored bytes fail a check
  too_large,            // over a documented limit
  full,                 // no room: disk, quota, table of devices
  timed_out,            //
  io,                   // the operating system said no; message has its words
  unsupported,          // not in this build, kernel or file format
  internal,             // a bug of ours
};

std::string_view to_string(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;  // one sentence: what could not be done, and why
  std::string hint;     // what to do about it; may be empty
};

template <class T>
using Result = tl::expected<T, Error>;

[[nodiscard]] inline tl::unexpected<Error> fail(ErrorCode code, std::string message,
                                                std::string hint = {}) {
  return tl::unexpected<Error>(Error{code, std::move(message), std::move(hint)});
}

// The failure of a system call: `what` and strerror(errnum).
[[nodiscard]] tl::unexpected<Error> fail_errno(std::string_view what, int errnum,
                                               std::string hint = {});

}  // namespace vtpm

// NOLINTBEGIN(bugprone-macro-parentheses): `decl` is a declaration
// Hand an error up; binds the value otherwise. VTPM_TRY(auto x, f());
#define VTPM_CONCAT_INNER(a, b) a##b
#define VTPM_CONCAT(a, b) VTPM_CONCAT_INNER(a, b)
#define VTPM_TRY_INNER(tmp, decl, expr)                                   \
  auto tmp = (expr);                                                      \
  if (!tmp) return tl::unexpected<::vtpm::Error>(std::move(tmp).error()); \
  decl = *std::move(tmp)
#define VTPM_TRY(decl, expr) VTPM_TRY_INNER(VTPM_CONCAT(vtpm_try_, __LINE__), decl, expr)
// The same for Result<void>.
#define VTPM_CHECK_INNER(tmp, expr) \
  if (auto tmp = (expr); !tmp) return tl::unexpected<::vtpm::Error>(std::move(tmp).error())
#define VTPM_CHECK(expr) VTPM_CHECK_INNER(VTPM_CONCAT(vtpm_check_, __LINE__), expr)
// NOLINTEND(bugprone-macro-parentheses)
