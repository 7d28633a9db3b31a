// SPDX-License-Identifier: Apache-2.0
#include "table.h"

#include <fmt/format.h>

#include <algorithm>

#include "terminal_text.h"

namespace vtpm::ctl {
namespace {

constexpr std::size_t kGap = 2;
constexpr std::size_t kLeastLastColumn = 8;  // on a narrower terminal the line runs over

}  // namespace

std::string toned(std::string_view text, Tone tone, bool color) {
  if (!color || tone == Tone::plain) return std::string(text);
  const char* code = "1";
  switch (tone) {
    case Tone::good: code = "32"; break;
    case Tone::doubtful: code = "33"; break;
    case Tone::bad: code = "1;31"; break;
    case Tone::plain:
    case Tone::strong: break;
  }
  return fmt::format("\033[{}m{}\033[0m", code, text);
}

void Table::add(std::vector<Cell> row) {
  for (Cell& cell : row) cell.text = cell.text.empty() ? "-" : printable(cell.text);
  row.resize(header_.size());
  rows_.push_back(std::move(row));
}

std::string Table::render(bool color, unsigned columns) const {
  std::vector<std::size_t> widths;
  widths.reserve(header_.size());
  for (const std::string& name : header_) widths.push_back(display_width(name));
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], display_width(row[i].text));
    }
  }
  const std::size_t last = header_.size() - 1;
  std::size_t before_last = 0;
  for (std::size_t i = 0; i < last; ++i) before_last += widths[i] + kGap;
  if (columns > before_last + kLeastLastColumn) {
    widths[last] = std::min<std::size_t>(widths[last], columns - before_last);
  }

  std::string out;
  const auto line = [&](const auto& text_of, const auto& tone_of) {
    for (std::size_t i = 0; i <= last; ++i) {
      const std::string text = cut(text_of(i), widths[i]);
      out += toned(text, tone_of(i), color);
      out += i == last ? "\n" : std::string(widths[i] - display_width(text) + kGap, ' ');
    }
  };
  line([&](std::size_t i) { return header_[i]; }, [](std::size_t) { return Tone::strong; });
  for (const auto& row : rows_) {
    line([&](std::size_t i) { return row[i].text; }, [&](std::size_t i) { return row[i].tone; });
  }
  return out;
}

}  // namespace vtpm::ctl
