// SPDX-License-Identifier: Apache-2.0
#include "base/uuid.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>

namespace vtpm {

Result<void> fill_random(MutableByteView out) {
  while (!out.empty()) {
    const ssize_t got = ::getrandom(out.data(), out.size(), 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      return fail_errno("cannot get random bytes", errno);
    }
    out = out.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

Result<Uuid> Uuid::random() {
  Uuid uuid;
  VTPM_CHECK(fill_random(uuid.bytes));
  uuid.bytes[6] = (uuid.bytes[6] & std::byte{0x0f}) | std::byte{0x40};
  uuid.bytes[8] = (uuid.bytes[8] & std::byte{0x3f}) | std::byte{0x80};
  return uuid;
}

std::optional<Uuid> Uuid::parse(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  std::string digits;
  for (std::size_t i = 0; i < text.size(); i++) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash != (text[i] == '-')) return std::nullopt;
    if (!dash) digits.push_back(text[i]);
  }
  const auto raw = from_hex(digits);
  if (!raw) return std::nullopt;
  Uuid uuid;
  std::ranges::copy(*raw, uuid.bytes.begin());
  return uuid;
}

std::string Uuid::to_string() const {
  std::string text = to_hex(bytes);
  for (const std::size_t at : {8U, 13U, 18U, 23U}) text.insert(at, 1, '-');
  return text;
}

}  // namespace vtpm
