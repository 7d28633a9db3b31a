// SPDX-License-Identifier: Apache-2.0
// Bytes: views, buffers that wipe themselves, and checked big-endian reading and writing.
//
// Everything on the wire of a TPM is big-endian (TPM 2.0 Library, Part 1, 4.60), and so is every
// format of our own: journal slots, messages between processes, sealed records.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vtpm {

using ByteView = std::span<const std::byte>;
using MutableByteView = std::span<std::byte>;
using Bytes = std::vector<std::byte>;

// Overwrites memory in a way that the compiler does not remove.
void wipe(MutableByteView memory);

// An allocator whose memory is wiped before it is given back.
template <class T>
struct WipingAllocator {
  using value_type = T;
  WipingAllocator() = default;
  template <class U>
  WipingAllocator(const WipingAllocator<U>&) {}  // NOLINT(google-explicit-constructor)
  T* allocate(std::size_t n) { return std::allocator<T>().allocate(n); }
  void deallocate(T* p, std::size_t n) {
    wipe(std::as_writable_bytes(std::span<T>(p, n)));
    std::allocator<T>().deallocate(p, n);
  }
  template <class U>
  bool operator==(const WipingAllocator<U>&) const {
    return true;
  }
};

// Bytes that are or may hold a secret: state blobs, seeds, keys, replies.
using SecretBytes = std::vector<std::byte, WipingAllocator<std::byte>>;

inline ByteView as_bytes(std::string_view text) {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}
inline std::string_view as_text(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes to_bytes(ByteView view) { return {view.begin(), view.end()}; }
// Not the vector's range constructor: with an allocator of ours it copies byte by byte.
inline SecretBytes to_secret(ByteView view) {
  SecretBytes out(view.size());
  if (!view.empty()) std::memcpy(out.data(), view.data(), view.size());
  return out;
}

// Copies into memory that `out` has already, if there is enough; what was there and is not
// overwritten is wiped.
void assign(SecretBytes& out, ByteView view);

std::string to_hex(ByteView bytes);
// 0 to 15; -1 if it is none.
int hex_value(char digit);
// Upper or lower case, an even number of digits, nothing else.
std::optional<Bytes> from_hex(std::string_view text);

// Same length and content; the time taken depends on the length alone.
bool equal_constant_time(ByteView a, ByteView b);

inline std::uint16_t load_be16(const std::byte* p) {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(p[0]) << 8 |
                                    std::to_integer<unsigned>(p[1]));
}
inline std::uint32_t load_be32(const std::byte* p) {
  return std::uint32_t{load_be16(p)} << 16 | load_be16(p + 2);
}
inline std::uint64_t load_be64(const std::byte* p) {
  return std::uint64_t{load_be32(p)} << 32 | load_be32(p + 4);
}
inline void store_be16(std::byte* p, std::uint16_t v) {
  p[0] = static_cast<std::byte>(v >> 8);
  p[1] = static_cast<std::byte>(v);
}
inline void store_be32(std::byte* p, std::uint32_t v) {
  store_be16(p, static_cast<std::uint16_t>(v >> 16));
  store_be16(p + 2, static_cast<std::uint16_t>(v));
}
inline void store_be64(std::byte* p, std::uint64_t v) {
  store_be32(p, static_cast<std::uint32_t>(v >> 32));
  store_be32(p + 4, static_cast<std::uint32_t>(v));
}

// Reads fields from the front of untrusted bytes. The first read past the end makes the reader
// fail for good: every later read gives zero or an empty view, so a parser reads everything it
// wants and asks ok() once.
class Reader {
 public:
  explicit Reader(ByteView bytes) : rest_(bytes) {}
  std::uint8_t u8() {
    return take(1, [](const std::byte* p) { return std::to_integer<std::uint8_t>(*p); });
  }
  std::uint16_t u16() { return take(2, load_be16); }
  std::uint32_t u32() { return take(4, load_be32); }
  std::uint64_t u64() { return take(8, load_be64); }
  ByteView bytes(std::size_t n) {
    if (!ok_ || n > rest_.size()) {
      ok_ = false;
      return {};
    }
    ByteView taken = rest_.first(n);
    rest_ = rest_.subspan(n);
    return taken;
  }
  ByteView sized16() { return bytes(u16()); }  // TPM2B: UINT16 size, then that many bytes
  ByteView sized32() { return bytes(u32()); }
  template <std::size_t N>
  std::array<std::byte, N> array() {
    std::array<std::byte, N> out{};
    ByteView v = bytes(N);
    if (v.size() == N) std::memcpy(out.data(), v.data(), N);
    return out;
  }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool done() const { return ok_ && rest_.empty(); }  // all read, nothing over
  [[nodiscard]] ByteView rest() const { return rest_; }
  void fail() { ok_ = false; }

 private:
  template <class Load>
  auto take(std::size_t n, Load load) -> decltype(load(nullptr)) {
    ByteView v = bytes(n);
    return v.size() == n ? load(v.data()) : decltype(load(nullptr)){0};
  }
  ByteView rest_;
  bool ok_ = true;
};

// Memory that somebody else owns, as a buffer that fields are appended to. The caller has seen to
// it that there is room: to run out of it ends the process.
class SpanBuffer {
 public:
  explicit SpanBuffer(MutableByteView memory) : memory_(memory) {}
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::byte* data() const { return memory_.data(); }
  void resize(std::size_t size) {
    if (size > memory_.size()) std::abort();
    size_ = size;
  }
  void push_back(std::byte b) {
    resize(size_ + 1);
    memory_[size_ - 1] = b;
  }

 private:
  MutableByteView memory_;
  std::size_t size_ = 0;
};

// Appends fields to a buffer (Bytes, SecretBytes or SpanBuffer) that the caller owns.
template <class Buffer>
class BasicWriter {
 public:
  explicit BasicWriter(Buffer& out) : out_(out) {}
  BasicWriter& u8(std::uint8_t v) {
    out_.push_back(static_cast<std::byte>(v));
    return *this;
  }
  BasicWriter& u16(std::uint16_t v) {
    return u8(static_cast<std::uint8_t>(v >> 8)).u8(static_cast<std::uint8_t>(v));
  }
  BasicWriter& u32(std::uint32_t v) {
    return u16(static_cast<std::uint16_t>(v >> 16)).u16(static_cast<std::uint16_t>(v));
  }
  BasicWriter& u64(std::uint64_t v) {
    return u32(static_cast<std::uint32_t>(v >> 32)).u32(static_cast<std::uint32_t>(v));
  }
  BasicWriter& bytes(ByteView v) {
    const std::size_t at = out_.size();
    out_.resize(at + v.size());
    if (!v.empty()) std::memcpy(out_.data() + at, v.data(), v.size());
    return *this;
  }
  BasicWriter& sized16(ByteView v) { return u16(static_cast<std::uint16_t>(v.size())).bytes(v); }
  BasicWriter& sized32(ByteView v) { return u32(static_cast<std::uint32_t>(v.size())).bytes(v); }

 private:
  Buffer& out_;
};
using Writer = BasicWriter<Bytes>;
using SecretWriter = BasicWriter<SecretBytes>;
using SpanWriter = BasicWriter<SpanBuffer>;

}  // namespace vtpm
