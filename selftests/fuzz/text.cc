// SPDX-License-Identifier: Apache-2.0
// Text of people and tenants: names, UUIDs, hexadecimal digits, and what a terminal is shown.
#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "base/uuid.h"
#include "check.h"
#include "store/checks.h"
#include "store/store.h"
#include "terminal_text.h"

namespace vtpm::fuzz {
namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }
bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

void identifiers(const std::string& text) {
  if (const auto uuid = Uuid::parse(text)) {
    FUZZ_CHECK(text.size() == 36);
    std::string lower = text;
    for (char& c : lower)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    FUZZ_CHECK(uuid->to_string() == lower);
  }
  if (const auto bytes = from_hex(text)) {
    FUZZ_CHECK(bytes->size() * 2 == text.size());
    FUZZ_CHECK(from_hex(to_hex(*bytes)) == bytes);
  }
  FUZZ_CHECK(from_hex(to_hex(as_bytes(text))) == to_bytes(as_bytes(text)));
  if (store::valid_name(text)) {
    // Good as a file name, a word of a shell and a journal field.
    FUZZ_CHECK(!text.empty() && text.size() <= 63 && (digit(text[0]) || letter(text[0])));
    for (const char c : text) FUZZ_CHECK(digit(c) || letter(c) || c == '.' || c == '_' || c == '-');
    FUZZ_CHECK(ctl::shell_word(text) == text && ctl::printable(text) == text);
  }
  store::Record record;
  record.uuid.bytes.fill(std::byte{1});
  record.settings.name = "a";
  record.settings.owner = text;
  record.settings.socket_path = text;
  const bool fits = text.size() <= store::kMaxSocketPath && text.find('\0') == std::string::npos;
  FUZZ_CHECK(store::check_record(record).has_value() == fits);
}

// What printable() wrote, read back: nothing if it is ambiguous or not of its form.
std::optional<std::string> read_back(std::string_view shown) {
  std::string out;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    if (shown[i] != '\\') {
      out += shown[i];
      continue;
    }
    if (++i == shown.size()) return std::nullopt;
    const auto number = [&](std::size_t digits) -> std::optional<char32_t> {
      if (shown.size() - i <= digits) return std::nullopt;
      char32_t value = 0;
      for (; digits > 0; --digits) {
        const char c = shown[++i];
        if (!digit(c) && !(c >= 'a' && c <= 'f')) return std::nullopt;
        value = value << 4 | static_cast<char32_t>(digit(c) ? c - '0' : c - 'a' + 10);
      }
      return value;
    };
    const auto point = [&out](char32_t p) {
      const auto put = [&out](char32_t byte) { out += static_cast<char>(byte); };
      if (p < 0x800) {
        put(0xc0 | p >> 6);
      } else if (p < 0x10000) {
        put(0xe0 | p >> 12);
        put(0x80 | (p >> 6 & 0x3f));
      } else {
        put(0xf0 | p >> 18);
        put(0x80 | (p >> 12 & 0x3f));
        put(0x80 | (p >> 6 & 0x3f));
      }
      put(0x80 | (p & 0x3f));
    };
    std::optional<char32_t> value;
    switch (shown[i]) {
      case '\\': out += '\\'; break;
      case 'n': out += '\n'; break;
      case 'r': out += '\r'; break;
      case 't': out += '\t'; break;
      case 'x':  // a byte
        if (!(value = number(2))) return std::nullopt;
        out += static_cast<char>(*value);
        break;
      case 'u':  // a character
      case 'U':
        if (!(value = number(shown[i] == 'u' ? 4 : 8))) return std::nullopt;
        point(*value);
        break;
      default: return std::nullopt;
    }
  }
  return out;
}

void terminal(std::string_view text) {
  const std::string shown = ctl::printable(text);
  for (const unsigned char c : shown) FUZZ_CHECK(c >= 0x20 && c != 0x7f);
  FUZZ_CHECK(read_back(shown) == std::string(text));
  for (const std::size_t width :
       {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{40}}) {
    const std::string part = ctl::cut(shown, width);
    FUZZ_CHECK(ctl::display_width(part) <= width);
    if (ctl::display_width(shown) <= width) FUZZ_CHECK(part == shown);
  }

  // A shell takes the word for the text: '...' with '\'' for a quote, or nothing but safe bytes.
  const std::string word = ctl::shell_word(text);
  if (word == text) return;
  std::string taken;
  FUZZ_CHECK(word.size() >= 2 && word.front() == '\'' && word.back() == '\'');
  for (std::size_t i = 1; i + 1 < word.size(); ++i) {
    if (word[i] == '\'') {
      FUZZ_CHECK(word.compare(i, 4, "'\\''") == 0);
      i += 3;
    }
    taken += word[i];
  }
  FUZZ_CHECK(taken == text);
}

}  // namespace
}  // namespace vtpm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  vtpm::fuzz::identifiers(text);
  vtpm::fuzz::terminal(text);
  return 0;
}
