// SPDX-License-Identifier: Apache-2.0
// Uuid: the identity of a device (RFC 4122, version 4), as text 8-4-4-4-12 lower case.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace vtpm {

struct Uuid {
  std::array<std::byte, 16> bytes{};

  static Result<Uuid> random();
  static std::optional<Uuid> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] bool is_nil() const { return *this == Uuid{}; }
  auto operator<=>(const Uuid&) const = default;
};

// Random bytes of the operating system; fails only where the system has none.
Result<void> fill_random(MutableByteView out);

}  // namespace vtpm
