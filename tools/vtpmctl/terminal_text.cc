// SPDX-License-Identifier: Apache-2.0
#include "terminal_text.h"

#include <fmt/format.h>
#include <wchar.h>

#include <cstdint>

namespace vtpm::ctl {
namespace {

struct Decoded {
  char32_t point = 0;
  std::size_t length = 1;
  bool valid = false;
};

// RFC 3629: shortest form only, no surrogates, nothing above U+10FFFF.
Decoded decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  std::size_t length = 0;
  char32_t point = 0;
  char32_t least = 0;
  if ((lead & 0xe0) == 0xc0) {
    length = 2, point = lead & 0x1f, least = 0x80;
  } else if ((lead & 0xf0) == 0xe0) {
    length = 3, point = lead & 0x0f, least = 0x800;
  } else if ((lead & 0xf8) == 0xf0) {
    length = 4, point = lead & 0x07, least = 0x10000;
  } else {
    return {};
  }
  if (text.size() < length) return {};
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    point = point << 6 | (byte(i) & 0x3f);
  }
  if (point < least || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return {};
  return {point, length, true};
}

bool deceives(char32_t p) {
  return p < 0x20 || (p >= 0x7f && p < 0xa0)             // C0, DEL, C1
         || p == 0xad || p == 0x61c                      // soft hyphen, Arabic letter mark
         || (p >= 0x200b && p <= 0x200f)                 // zero width, left-to-right mark …
         || (p >= 0x2028 && p <= 0x202e)                 // separators, embeddings, overrides
         || (p >= 0x2060 && p <= 0x206f)                 // invisible operators, isolates
         || p == 0xfeff || (p >= 0xfff9 && p <= 0xfffb)  // byte order mark, annotations
         || (p >= 0xe0000 && p <= 0xe0fff);              // tags
}

std::string escaped(char32_t p) {
  switch (p) {
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    default: break;
  }
  const auto value = static_cast<std::uint32_t>(p);
  if (value < 0x80)
    return fmt::format("\\x{:02x}", value);  // above, \xNN is a byte that is no text
  return value < 0x10000 ? fmt::format("\\u{:04x}", value) : fmt::format("\\U{:08x}", value);
}

std::size_t width_of(char32_t p) {
  const int width = ::wcwidth(static_cast<wchar_t>(p));
  return width < 0 ? 1 : static_cast<std::size_t>(width);  // unknown to the locale
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Decoded next = decode(text);
    if (!next.valid) {
      out += fmt::format("\\x{:02x}", static_cast<std::uint8_t>(text[0]));
    } else if (next.point == '\\') {
      out += "\\\\";
    } else if (deceives(next.point)) {
      out += escaped(next.point);
    } else {
      out += text.substr(0, next.length);
    }
    text.remove_prefix(next.length);
  }
  return out;
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const Decoded next = decode(text);
    width += next.valid ? width_of(next.point) : 1;
    text.remove_prefix(next.length);
  }
  return width;
}

std::string cut(std::string_view text, std::size_t width) {
  if (display_width(text) <= width) return std::string(text);
  if (width == 0) return {};
  std::size_t used = 1;  // the mark
  std::size_t end = 0;
  while (end < text.size()) {
    const Decoded next = decode(text.substr(end));
    used += next.valid ? width_of(next.point) : 1;
    if (used > width) break;
    end += next.length;
  }
  return std::string(text.substr(0, end)) + "…";
}

std::string shell_word(std::string_view text) {
  constexpr std::string_view kSafe =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-";
  if (!text.empty() && text.find_first_not_of(kSafe) == std::string_view::npos) {
    return std::string(text);
  }
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace vtpm::ctl
