// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"

#include <string.h>

namespace vtpm {

void wipe(MutableByteView memory) {
  if (!memory.empty()) ::explicit_bzero(memory.data(), memory.size());
}

void assign(SecretBytes& out, ByteView view) {
  if (view.size() < out.size()) wipe(MutableByteView(out).subspan(view.size()));
  out.resize(view.size());
  if (!view.empty()) std::memcpy(out.data(), view.data(), view.size());
}

std::string to_hex(ByteView bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (std::byte b : bytes) {
    const auto v = std::to_integer<unsigned>(b);
    out.push_back(kDigits[v >> 4]);
    out.push_back(kDigits[v & 15]);
  }
  return out;
}

int hex_value(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

std::optional<Bytes> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  Bytes out;
  out.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int hi = hex_value(text[i]);
    const int lo = hex_value(text[i + 1]);
    if (hi < 0 || lo < 0) return std::nullopt;
    out.push_back(static_cast<std::byte>(hi << 4 | lo));
  }
  return out;
}

bool equal_constant_time(ByteView a, ByteView b) {
  if (a.size() != b.size()) return false;
  std::byte difference{0};
  for (std::size_t i = 0; i < a.size(); i++) difference |= a[i] ^ b[i];
  return difference == std::byte{0};
}

}  // namespace vtpm
