// SPDX-License-Identifier: Apache-2.0
#include "base/uuid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace vtpm {
namespace {

TEST(Uuid, RandomOnesAreVersion4AndDiffer) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; i++) {
    const auto uuid = Uuid::random();
    ASSERT_TRUE(uuid.has_value());
    const std::string text = uuid->to_string();
    EXPECT_EQ(text[14], '4') << text;
    EXPECT_NE(std::string("89ab").find(text[19]), std::string::npos) << text;
    EXPECT_FALSE(uuid->is_nil());
    EXPECT_TRUE(seen.insert(text).second);
    EXPECT_EQ(Uuid::parse(text), *uuid);
  }
}

TEST(Uuid, TextIsLowerCaseWithDashes) {
  const auto uuid = Uuid::parse("01234567-89AB-4DEF-8123-456789ABCDEF");
  ASSERT_TRUE(uuid.has_value());
  EXPECT_EQ(uuid->to_string(), "01234567-89ab-4def-8123-456789abcdef");
  EXPECT_EQ(Uuid{}.to_string(), "00000000-0000-0000-0000-000000000000");
  EXPECT_TRUE(Uuid{}.is_nil());
  EXPECT_TRUE(Uuid::parse("00000000-0000-0000-0000-000000000000")->is_nil());
}

TEST(Uuid, RefusesOtherText) {
  const std::string good = "01234567-89ab-4def-8123-456789abcdef";
  ASSERT_TRUE(Uuid::parse(good).has_value());
  for (std::size_t i = 0; i < good.size(); i++) {
    EXPECT_EQ(Uuid::parse(good.substr(0, i)), std::nullopt) << i;
    for (const char c : {'-', 'g', ' ', '\0', '\n', '{'}) {
      std::string bad = good;
      if (bad[i] == c) continue;
      bad[i] = c;
      EXPECT_EQ(Uuid::parse(bad), std::nullopt) << bad;
    }
  }
  for (const std::string& bad : {good + "0", good + "\n", " " + good, "{" + good + "}",
                                 std::string("0123456789ab4def8123456789abcdef"),
                                 std::string("012345678-9ab-4def-8123-456789abcdef"),
                                 std::string(36, '-'), std::string(100000, '0')})
    EXPECT_EQ(Uuid::parse(bad), std::nullopt) << bad.substr(0, 50);
}

TEST(Uuid, OrdersByItsBytes) {
  const auto low = *Uuid::parse("01000000-0000-0000-0000-0000000000ff");
  const auto high = *Uuid::parse("ff000000-0000-0000-0000-000000000000");
  EXPECT_LT(low, high);
  EXPECT_NE(low, high);
}

TEST(FillRandom, FillsAllOfItAndTakesNothing) {
  EXPECT_TRUE(fill_random({}).has_value());
  // Larger than one getrandom() gives when a signal interrupts it.
  Bytes big(1 << 20);
  ASSERT_TRUE(fill_random(big).has_value());
  for (std::size_t at = 0; at < big.size(); at += 4096)
    EXPECT_FALSE(std::all_of(big.begin() + static_cast<std::ptrdiff_t>(at),
                             big.begin() + static_cast<std::ptrdiff_t>(at + 4096),
                             [](std::byte b) { return b == std::byte{0}; }));
}

}  // namespace
}  // namespace vtpm
