// SPDX-License-Identifier: Apache-2.0
#include "base/checkpoint.h"

#include <gtest/gtest.h>

#include <random>

namespace vtpm {
namespace {

// magic, version, boot id, three counters: what stands before the first length
constexpr std::size_t kPermanentLengthAt = 4 + 2 + 16 + 3 * 8;

Checkpoint sample() {
  Checkpoint c;
  c.boot_id.fill(std::byte{0xb0});
  c.incarnation = 0x0102030405060708;
  c.permanent_version = ~std::uint64_t{0};
  c.sequence = 42;
  c.permanent = to_secret(as_bytes("permanent"));
  c.volatile_state = to_secret(as_bytes("volatile state"));
  c.reply = to_secret(as_bytes("reply"));
  return c;
}

Checkpoint with_redo() {
  Checkpoint c = sample();
  c.redo.push_back({2, to_secret(as_bytes("first")), to_secret(as_bytes("1"))});
  c.redo.push_back({0, to_secret(as_bytes("second")), c.reply});
  return c;
}

void expect_same(const Checkpoint& a, const Checkpoint& b) {
  EXPECT_EQ(a.boot_id, b.boot_id);
  EXPECT_EQ(a.incarnation, b.incarnation);
  EXPECT_EQ(a.permanent_version, b.permanent_version);
  EXPECT_EQ(a.sequence, b.sequence);
  EXPECT_EQ(a.permanent, b.permanent);
  EXPECT_EQ(a.volatile_state, b.volatile_state);
  EXPECT_EQ(a.reply, b.reply);
  ASSERT_EQ(a.redo.size(), b.redo.size());
  for (std::size_t i = 0; i < a.redo.size(); ++i) {
    EXPECT_EQ(a.redo[i].locality, b.redo[i].locality);
    EXPECT_EQ(a.redo[i].command, b.redo[i].command);
    EXPECT_EQ(a.redo[i].reply, b.redo[i].reply);
  }
}

TEST(Checkpoint, RoundTrips) {
  Checkpoint largest = sample();
  largest.permanent.assign(kMaxPermanentState, std::byte{1});
  largest.volatile_state.assign(kMaxVolatileState, std::byte{2});
  largest.reply.assign(kMaxReply, std::byte{3});
  largest.redo.push_back({4, SecretBytes(kMaxRedo - 9, std::byte{4}), {}});
  for (const Checkpoint& c : {Checkpoint{}, sample(), with_redo(), largest}) {
    const auto back = decode_checkpoint(encode(c));
    ASSERT_TRUE(back.has_value()) << back.error().message;
    expect_same(*back, c);
  }
}

// What is on disks must stay readable.
TEST(Checkpoint, FormatIsPinned) {
  EXPECT_EQ(to_hex(encode(sample())),
            "76746370"
            "0001"
            "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0"
            "0102030405060708"
            "ffffffffffffffff"
            "000000000000002a"
            "00000009"
            "7065726d616e656e74"
            "0000000e"
            "766f6c6174696c65207374617465"
            "00000005"
            "7265706c79");
  const std::string with = to_hex(encode(with_redo()));
  EXPECT_EQ(with.substr(8, 4), "0002");
  EXPECT_EQ(with.substr(to_hex(encode(sample())).size()),
            "00000023"
            "02"
            "00000005"
            "6669727374"
            "00000001"
            "31"
            "00"
            "00000006"
            "7365636f6e64"
            "00000005"
            "7265706c79");
}

TEST(Checkpoint, EveryTruncationIsRefused) {
  const SecretBytes whole = encode(with_redo());
  for (std::size_t size = 0; size < whole.size(); size++) {
    // A copy of its own, so that a read past the end is one past the allocation.
    const Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const auto result = decode_checkpoint(part);
    ASSERT_FALSE(result.has_value()) << size;
    EXPECT_EQ(result.error().code, ErrorCode::corrupt) << size;
  }
}

TEST(Checkpoint, GarbageBehindItIsRefused) {
  SecretBytes longer = encode(with_redo());
  longer.push_back(std::byte{0});
  EXPECT_EQ(decode_checkpoint(longer).error().code, ErrorCode::corrupt);
  SecretBytes twice = encode(sample());
  const SecretBytes again = twice;
  twice.insert(twice.end(), again.begin(), again.end());
  EXPECT_EQ(decode_checkpoint(twice).error().code, ErrorCode::corrupt);
}

TEST(Checkpoint, OtherVersionsAndFormatsAreToldApart) {
  SecretBytes newer = encode(sample());
  newer[5] = std::byte{3};
  const auto result = decode_checkpoint(newer);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, ErrorCode::unsupported);
  EXPECT_FALSE(result.error().hint.empty());
  SecretBytes other = encode(sample());
  other[0] ^= std::byte{1};
  EXPECT_EQ(decode_checkpoint(other).error().code, ErrorCode::corrupt);
}

TEST(Checkpoint, PartsOverTheirLimitAreRefused) {
  for (int part = 0; part < 4; part++) {
    Checkpoint c = sample();
    if (part == 0) c.permanent.resize(kMaxPermanentState + 1);
    if (part == 1) c.volatile_state.resize(kMaxVolatileState + 1);
    if (part == 2) c.reply.resize(kMaxReply + 1);
    if (part == 3) c.redo.push_back({0, SecretBytes(kMaxRedo), {}});
    const auto result = decode_checkpoint(encode(c));
    ASSERT_FALSE(result.has_value()) << part;
    EXPECT_EQ(result.error().code, ErrorCode::too_large) << part;
  }
}

TEST(Checkpoint, LengthsThatLieAreRefused) {
  for (const std::uint32_t lie : {0U, 8U, 10U, 0x7fffffffU, 0xffffffffU, 0xfffffff0U}) {
    SecretBytes bytes = encode(sample());
    store_be32(bytes.data() + kPermanentLengthAt, lie);
    EXPECT_FALSE(decode_checkpoint(bytes).has_value()) << lie;
  }
}

// Whatever decodes is what encode() makes: no two encodings of one checkpoint.
TEST(Checkpoint, RandomBytesAreRefusedOrCanonical) {
  std::mt19937 random(20240229);
  const SecretBytes good = encode(with_redo());
  int decoded = 0;
  for (int i = 0; i < 20000; i++) {
    SecretBytes bytes = good;
    const unsigned changes = 1 + random() % 3;
    for (unsigned j = 0; j < changes; j++)
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    if (random() % 4 == 0) bytes.resize(random() % (good.size() + 8));
    if (const auto c = decode_checkpoint(bytes)) {
      decoded++;
      ASSERT_EQ(encode(*c), bytes);
    }
  }
  EXPECT_GT(decoded, 100);
  for (int i = 0; i < 2000; i++) {
    Bytes noise(random() % 300);
    for (std::byte& b : noise) b = static_cast<std::byte>(random());
    EXPECT_FALSE(decode_checkpoint(noise).has_value());
  }
}

}  // namespace
}  // namespace vtpm
