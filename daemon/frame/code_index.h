// SPDX-License-Identifier: Apache-2.0
// CodeIndex: finds the row of a command code in a sorted table by one look, made at compile time.
// Every command is looked up several times on its way, so a search would show.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace vtpm::frame {

template <std::size_t Size>
class CodeIndex {
 public:
  // `rows` has at most 255 rows and lives as long as the index; each has a member `code`.
  template <class Rows>
  constexpr explicit CodeIndex(const Rows& rows) : first_(rows.front().code) {
    for (std::size_t i = 0; i < rows.size(); i++)
      places_[rows[i].code - first_] = static_cast<std::uint8_t>(i + 1);
  }
  // The row of `code`; null if it has none.
  template <class Rows>
  [[nodiscard]] constexpr auto find(const Rows& rows, std::uint32_t code) const {
    const std::uint32_t offset = code - first_;  // a smaller code wraps to a large offset
    const std::size_t place = offset < Size ? places_[offset] : 0;
    return place == 0 ? nullptr : &rows[place - 1];
  }

 private:
  std::uint32_t first_;
  std::array<std::uint8_t, Size> places_{};
};

// The Size that fits a sorted table.
template <class Rows>
constexpr std::size_t code_span(const Rows& rows) {
  return rows.back().code - rows.front().code + 1;
}

}  // namespace vtpm::frame
