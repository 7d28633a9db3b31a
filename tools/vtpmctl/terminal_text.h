// SPDX-License-Identifier: Apache-2.0
// Text for a terminal. What comes from vtpmd can hold what a tenant wrote (an owner, a reason), so
// it is hostile: escape sequences could retitle, recolour or answer for the person's terminal.
// Pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace vtpm::ctl {

// UTF-8 stays as it is; control characters (C0, DEL, C1), line and paragraph separators, marks
// that turn or hide the direction of text, and bytes that are not UTF-8 become \n, \xNN or \uNNNN.
// A backslash becomes \\, so that what is shown is unambiguous.
std::string printable(std::string_view text);

// Columns that printable text takes.
std::size_t display_width(std::string_view text);

// At most `width` columns; what is cut off is marked by "…".
std::string cut(std::string_view text, std::size_t width);

// One word for a POSIX shell; unchanged where nothing needs a quote.
std::string shell_word(std::string_view text);

}  // namespace vtpm::ctl
