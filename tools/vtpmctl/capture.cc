// SPDX-License-Identifier: Apache-2.0
#include "capture.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <istream>
#include <optional>

#include "frame/frame.h"

namespace vtpm::ctl {
namespace {

bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ':'; }

// Nothing if there is anything else in it than digits, blanks and comments.
std::optional<SecretBytes> from_hex(std::string_view text) {
  SecretBytes bytes;
  int high = -1;
  bool comment = false;
  for (const char c : text) {
    if (c == '\n') comment = false;
    if (c == '#') comment = true;
    if (comment || blank(c)) continue;
    const int value = hex_value(c);
    if (value < 0) return std::nullopt;
    if (high < 0) {
      high = value;
    } else {
      bytes.push_back(static_cast<std::byte>(high << 4 | value));
      high = -1;
    }
  }
  if (high >= 0) return std::nullopt;
  return bytes;
}

Outcome<SecretBytes> read_all(std::istream& in, const std::string& name) {
  SecretBytes bytes;
  std::array<char, 4096> part{};
  while (in.read(part.data(), part.size()), in.gcount() > 0) {
    const auto* first = reinterpret_cast<const std::byte*>(part.data());
    bytes.insert(bytes.end(), first, first + in.gcount());
    if (bytes.size() > kMaxCapture)
      return failure(Exit::usage, fmt::format("{} holds more than 1 MiB", name),
                     "cut it to the frames that matter");
  }
  if (in.bad()) return failure(Exit::failed, fmt::format("{} cannot be read", name));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (auto hex = from_hex(text)) return std::move(*hex);
  return bytes;
}

}  // namespace

Outcome<SecretBytes> read_capture(const std::string& what, std::istream& in) {
  if (what == "-") return read_all(in, "standard input");
  std::ifstream file(what, std::ios::binary);
  if (file.is_open()) return read_all(file, what);
  const int error = errno;
  if (auto hex = from_hex(what); hex && !hex->empty()) return std::move(*hex);
  return failure(Exit::usage,
                 fmt::format("'{}' is neither a frame in hexadecimal digits nor a file: {}", what,
                             std::strerror(error)),
                 "try: vtpmctl explain 80010000000c0000017b0020");
}

std::vector<ByteView> split_frames(ByteView bytes) {
  std::vector<ByteView> frames;
  while (!bytes.empty()) {
    std::size_t size = bytes.size();
    if (bytes.size() >= frame::kHeaderSize) {
      const std::uint32_t said = load_be32(bytes.data() + 2);
      if (said >= frame::kHeaderSize && said < size) size = said;
    }
    frames.push_back(bytes.first(size));
    bytes = bytes.subspan(size);
  }
  return frames;
}

}  // namespace vtpm::ctl
