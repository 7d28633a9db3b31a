// SPDX-License-Identifier: Apache-2.0
// Table: aligned columns, one line a row. Cells are made printable when they are added.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vtpm::ctl {

enum class Tone { plain, good, doubtful, bad, strong };

// The text with the terminal's sequences for the tone around it.
std::string toned(std::string_view text, Tone tone, bool color);

struct Cell {
  std::string text;
  Tone tone = Tone::plain;
};

class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}
  // One cell a column of the header.
  void add(std::vector<Cell> row);
  // `columns` > 0: a last column that would reach further is cut.
  [[nodiscard]] std::string render(bool color, unsigned columns) const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace vtpm::ctl
