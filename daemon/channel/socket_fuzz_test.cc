// SPDX-License-Identifier: Apache-2.0
// Hostile bytes at both sockets. The seed is printed and taken from VTPM_TEST_SEED if set.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <random>

#include "channel/socket_test_peer.h"

namespace vtpm::channel {
namespace {

class SocketFuzz : public ServedSocket {
 protected:
  SocketFuzz() {
    const char* given = std::getenv("VTPM_TEST_SEED");
    const unsigned seed = given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 0))
                                           : std::random_device{}();
    std::cout << "VTPM_TEST_SEED=" << seed << '\n';
    random_.seed(seed);
  }
  Bytes noise(std::size_t size) {
    Bytes bytes(size);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random_());
    return bytes;
  }
  std::mt19937 random_;
};

constexpr int kRounds = 10'000;

TEST_F(SocketFuzz, OversizedFrames) {
  for (int i = 0; i < kRounds; ++i) {
    const UniqueFd client = data();
    const auto length = static_cast<std::uint32_t>(4097 + random_() % (0xffffffffU - 4097));
    (void)put(client, make_frame(length, 10 + random_() % 6000));
    ASSERT_EQ(frame::response_code(get_reply(client)), frame::kRcCommandSize) << i;
  }
  EXPECT_EQ(frames_, 0);
  EXPECT_EQ(ask(data()), 0);
}

TEST_F(SocketFuzz, TruncatedFrames) {
  for (int i = 0; i < kRounds; ++i) {
    const UniqueFd client = data();
    const std::uint32_t length = 11 + random_() % 4000;
    const Bytes whole = make_frame(length, length);
    ASSERT_TRUE(put(client, ByteView(whole).first(random_() % length)));
    ASSERT_EQ(::shutdown(client.get(), SHUT_WR), 0);
    ASSERT_TRUE(get_reply(client).empty()) << i;  // nothing is made of half a frame
  }
  EXPECT_EQ(frames_, 0);
  EXPECT_EQ(ask(data()), 0);
}

TEST_F(SocketFuzz, ZeroLengthFrames) {
  for (int i = 0; i < kRounds; ++i) {
    const UniqueFd client = data();
    if (i % 2 == 0) {
      ASSERT_TRUE(put(client, make_frame(random_() % 10, 10)));
      ASSERT_EQ(frame::response_code(get_reply(client)), frame::kRcCommandSize) << i;
    }  // else: not one byte
  }
  EXPECT_EQ(frames_, 0);
  EXPECT_EQ(ask(data()), 0);
}

TEST_F(SocketFuzz, RandomFrames) {
  UniqueFd client = data();
  int whole = 0;
  for (int i = 0; i < kRounds; ++i) {
    Bytes frame = noise(10 + random_() % 300);
    const bool true_length = random_() % 4 != 0;
    if (true_length) store_be32(frame.data() + 2, static_cast<std::uint32_t>(frame.size()));
    const std::uint32_t length = load_be32(frame.data() + 2);
    (void)put(client, frame);
    if (length < 10 || length > 4096) {
      ASSERT_EQ(frame::response_code(get_reply(client)), frame::kRcCommandSize) << i;
      client = data();
    } else if (true_length) {
      ++whole;
      ASSERT_EQ(frame::response_code(get_reply(client)), 0U) << i;
    } else {
      client = data();
    }
  }
  EXPECT_GE(frames_, whole);
  client.reset();
  EXPECT_EQ(ask(data()), 0);
}

TEST_F(SocketFuzz, ControlBytes) {
  UniqueFd client = data();
  for (int i = 0; i < kRounds; ++i) {
    const UniqueFd host = control();
    Bytes bytes = noise(random_() % 40);
    if (bytes.size() >= 4 && random_() % 8 != 0) store_be32(bytes.data(), random_() % 0x16);
    (void)put(host, bytes);
    if (i % 10 == 0) {
      // Stopped or not, at whatever locality: the reply is well formed.
      ASSERT_TRUE(put(client, make_frame(12, 12)));
      ASSERT_FALSE(get_reply(client).empty()) << i;
    }
  }
  const UniqueFd host = control();
  ASSERT_TRUE(put_hex(host, "0000000200000000"));
  ASSERT_EQ(get_hex(host, 4), "00000000");
  ASSERT_TRUE(put_hex(host, "0000000500"));
  ASSERT_EQ(get_hex(host, 4), "00000000");
  EXPECT_EQ(ask(client), 0);
}

}  // namespace
}  // namespace vtpm::channel
