// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

// The test program's own operator delete looks at memory just before it goes.
namespace {
constexpr std::size_t kWatchedSize = 4099;
constexpr std::byte kPattern{0xa5};
thread_local bool watching = false;
thread_local int freed_blocks = 0;
thread_local int freed_with_pattern = 0;

void look_at(const void* p, std::size_t size) {
  if (!watching || size < kWatchedSize) return;
  freed_blocks++;
  const auto* bytes = static_cast<const std::byte*>(p);
  if (std::count(bytes, bytes + kWatchedSize, kPattern) > 8) freed_with_pattern++;
}
}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size) {
  if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
  std::abort();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t size) noexcept {
  look_at(p, size);
  std::free(p);
}

namespace vtpm {
namespace {

class FreedMemory {
 public:
  FreedMemory() {
    freed_blocks = freed_with_pattern = 0;
    watching = true;
  }
  ~FreedMemory() { watching = false; }
  FreedMemory(const FreedMemory&) = delete;
  FreedMemory& operator=(const FreedMemory&) = delete;
  [[nodiscard]] bool seen() const { return freed_blocks > 0; }
  [[nodiscard]] bool seen_with_pattern() const { return freed_with_pattern > 0; }
};

TEST(Hex, RoundTripsEveryByte) {
  Bytes all(256);
  for (std::size_t i = 0; i < all.size(); i++) all[i] = static_cast<std::byte>(i);
  const std::string text = to_hex(all);
  EXPECT_EQ(text.substr(0, 8), "00010203");
  EXPECT_EQ(text.substr(504), "fcfdfeff");
  EXPECT_EQ(from_hex(text), all);
  std::string upper = text;
  std::ranges::transform(upper, upper.begin(), [](unsigned char c) { return std::toupper(c); });
  EXPECT_EQ(from_hex(upper), all);
  EXPECT_EQ(to_hex({}), "");
  EXPECT_EQ(from_hex(""), Bytes{});
}

TEST(Hex, RefusesEverythingElse) {
  for (const char* text : {"0", "000", "0g", "g0", " 0", "0 ", "0x", "0x00", "+1", "-1", "00\n",
                           "\xc3\xa4", "/0", ":0", "@0", "G0", "`0"})
    EXPECT_EQ(from_hex(text), std::nullopt) << text;
  EXPECT_EQ(from_hex(std::string_view("0\0", 2)), std::nullopt);
}

TEST(EqualConstantTime, ComparesLengthAndContent) {
  EXPECT_TRUE(equal_constant_time({}, {}));
  EXPECT_TRUE(equal_constant_time(as_bytes("abc"), as_bytes("abc")));
  EXPECT_FALSE(equal_constant_time(as_bytes("abc"), as_bytes("ab")));
  EXPECT_FALSE(equal_constant_time(as_bytes("abc"), as_bytes("abcd")));
  for (std::size_t bit = 0; bit < 24; bit++) {
    Bytes other = to_bytes(as_bytes("abc"));
    other[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    EXPECT_FALSE(equal_constant_time(as_bytes("abc"), other)) << bit;
  }
  // Two differences must not cancel each other out.
  EXPECT_FALSE(equal_constant_time(as_bytes("ab"), as_bytes("ba")));
}

TEST(Reader, ReadsBigEndianFields) {
  const Bytes in = *from_hex(
      "01"
      "0203"
      "04050607"
      "08090a0b0c0d0e0f"
      "0002aabb"
      "00000001cc"
      "dd");
  Reader r(in);
  EXPECT_EQ(r.u8(), 0x01);
  EXPECT_EQ(r.u16(), 0x0203);
  EXPECT_EQ(r.u32(), 0x04050607U);
  EXPECT_EQ(r.u64(), 0x08090a0b0c0d0e0fULL);
  EXPECT_EQ(to_hex(r.sized16()), "aabb");
  EXPECT_EQ(to_hex(r.sized32()), "cc");
  EXPECT_TRUE(r.ok());
  EXPECT_FALSE(r.done());
  EXPECT_EQ(r.rest().size(), 1U);
  EXPECT_EQ(r.array<1>()[0], std::byte{0xdd});
  EXPECT_TRUE(r.done());
}

TEST(Reader, HighBitsDoNotSpread) {
  const Bytes in(15, std::byte{0xff});
  Reader r(in);
  EXPECT_EQ(r.u8(), 0xff);
  EXPECT_EQ(r.u16(), 0xffff);
  EXPECT_EQ(r.u32(), 0xffffffffU);
  EXPECT_EQ(r.u64(), ~std::uint64_t{0});
  EXPECT_TRUE(r.done());
}

TEST(Reader, FailsForGoodAtTheFirstReadPastTheEnd) {
  const Bytes in = *from_hex("010203");
  Reader r(in);
  EXPECT_EQ(r.u32(), 0U);
  EXPECT_FALSE(r.ok());
  EXPECT_FALSE(r.done());
  EXPECT_EQ(r.u8(), 0);  // though there are three bytes
  EXPECT_EQ(r.u16(), 0);
  EXPECT_EQ(r.u64(), 0U);
  EXPECT_TRUE(r.bytes(0).empty());
  EXPECT_EQ(r.array<2>(), (std::array<std::byte, 2>{}));
  EXPECT_FALSE(r.ok());
}

TEST(Reader, AnyWidthFailsOnOneByteTooFew) {
  for (std::size_t size = 0; size < 8; size++) {
    const Bytes in(size, std::byte{0x11});
    Reader r8(in), r4(in), r2(in), r1(in);
    r8.u64();
    r4.u32();
    r2.u16();
    r1.u8();
    EXPECT_FALSE(r8.ok());
    EXPECT_EQ(r4.ok(), size >= 4);
    EXPECT_EQ(r2.ok(), size >= 2);
    EXPECT_EQ(r1.ok(), size >= 1);
  }
}

TEST(Reader, SizesThatLieAreRefused) {
  for (const char* text : {"0001", "ffff00", "000200", "00"}) {
    const Bytes in = *from_hex(text);
    Reader r(in);
    EXPECT_TRUE(r.sized16().empty()) << text;
    EXPECT_FALSE(r.ok()) << text;
  }
  for (const char* text : {"ffffffff00", "00000001", "000000", "8000000000"}) {
    const Bytes in = *from_hex(text);
    Reader r(in);
    EXPECT_TRUE(r.sized32().empty()) << text;
    EXPECT_FALSE(r.ok()) << text;
  }
  Reader huge(as_bytes("abc"));
  EXPECT_TRUE(huge.bytes(~std::size_t{0}).empty());
  EXPECT_FALSE(huge.ok());
}

TEST(Reader, ZeroSizesAreFine) {
  const Bytes in = *from_hex("000000000000");
  Reader r(in);
  EXPECT_TRUE(r.sized16().empty());
  EXPECT_TRUE(r.sized32().empty());
  EXPECT_TRUE(r.done());
  Reader nothing{ByteView{}};
  EXPECT_TRUE(nothing.done());
  EXPECT_TRUE(nothing.bytes(0).empty());
  EXPECT_TRUE(nothing.done());
  nothing.fail();
  EXPECT_FALSE(nothing.done());
}

TEST(Writer, WritesWhatReaderReads) {
  Bytes out;
  Writer(out).u8(0x01).u16(0x0203).u32(0x04050607).u64(0x08090a0b0c0d0e0f);
  Writer(out).sized16(as_bytes("ab")).sized32(as_bytes("c")).bytes(as_bytes("d")).sized16({});
  EXPECT_EQ(to_hex(out),
            "0102030405060708090a0b0c0d0e0f"
            "00026162"
            "0000000163"
            "64"
            "0000");
  SecretBytes secret;
  SecretWriter(secret).u32(0xfffefdfc);
  EXPECT_EQ(to_hex(secret), "fffefdfc");
}

TEST(BigEndian, StoresWhatItLoads) {
  std::array<std::byte, 8> at{};
  store_be64(at.data(), 0xf1e2d3c4b5a69788);
  EXPECT_EQ(to_hex(at), "f1e2d3c4b5a69788");
  EXPECT_EQ(load_be64(at.data()), 0xf1e2d3c4b5a69788);
  EXPECT_EQ(load_be32(at.data() + 1), 0xe2d3c4b5U);
  EXPECT_EQ(load_be16(at.data() + 7 - 1), 0x9788);
}

TEST(Wipe, ClearsTheMemoryAndNothingBeside) {
  Bytes memory(64, std::byte{0xee});
  wipe(MutableByteView(memory).subspan(8, 48));
  for (std::size_t i = 0; i < memory.size(); i++)
    EXPECT_EQ(memory[i], i >= 8 && i < 56 ? std::byte{0} : std::byte{0xee}) << i;
  wipe({});
}

TEST(Wipe, ASecretIsGoneWhenItsMemoryIsFreed) {
  {
    FreedMemory freed;
    {
      const Bytes plain(kWatchedSize, kPattern);
    }
    EXPECT_TRUE(freed.seen_with_pattern());  // the watch itself works
  }
  FreedMemory freed;
  {
    const SecretBytes secret(kWatchedSize, kPattern);
  }
  EXPECT_TRUE(freed.seen());
  EXPECT_FALSE(freed.seen_with_pattern());
}

TEST(Wipe, ASecretThatGrowsShrinksOrMovesLeavesNothingBehind) {
  FreedMemory freed;
  {
    SecretBytes secret(kWatchedSize, kPattern);
    secret.push_back(kPattern);  // reallocates
    EXPECT_TRUE(freed.seen());
    secret.clear();  // the capacity still holds the bytes
    SecretBytes other(kWatchedSize, kPattern);
    other = std::move(secret);
    const SecretBytes copy = other;
  }
  EXPECT_FALSE(freed.seen_with_pattern());
}

TEST(Wipe, ASecretThatIsAssignedOverLeavesNothingOfTheLongerOne) {
  SecretBytes secret(kWatchedSize, kPattern);
  const std::byte* const memory = secret.data();
  assign(secret, as_bytes("short"));
  EXPECT_EQ(as_text(secret), "short");
  ASSERT_EQ(secret.data(), memory) << "there was room";
  secret.resize(kWatchedSize);
  EXPECT_EQ(std::ranges::count(secret, kPattern), 0);
}

TEST(SpanBuffer, TakesFieldsAsAnyBufferDoes) {
  std::array<std::byte, 12> memory{};
  SpanBuffer buffer(memory);
  SpanWriter writer(buffer);
  writer.u16(0x0102).sized32(as_bytes("abc"));
  EXPECT_EQ(buffer.size(), 9U);
  EXPECT_EQ(to_hex(memory), "010200000003616263000000");
}

TEST(SpanBufferDeathTest, EndsTheProcessBeforeItWritesBehindItsMemory) {
  std::array<std::byte, 4> memory{};
  SpanBuffer buffer(MutableByteView(memory).first(3));
  SpanWriter writer(buffer);
  EXPECT_DEATH(writer.u32(0), "");
  EXPECT_DEATH(writer.bytes(as_bytes("abcd")), "");
}

}  // namespace
}  // namespace vtpm
