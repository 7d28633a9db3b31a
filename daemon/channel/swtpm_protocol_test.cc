// SPDX-License-Identifier: Apache-2.0
#include "channel/swtpm_protocol.h"

#include <gtest/gtest.h>

#include <random>

namespace vtpm::channel::swtpm {
namespace {

using Status = Parsed::Status;

Parsed parse_hex(std::string_view hex, std::size_t padding = 0) {
  return parse(*from_hex(hex), padding);
}

TEST(SwtpmProtocol, EveryRequestNeedsItsWholeBody) {
  struct Case {
    std::uint32_t code;
    std::size_t least;
    std::size_t most;
    Status status;
  };
  const Case cases[] = {
      {0x01, 0, 0, Status::complete},      {0x02, 4, 4, Status::complete},
      {0x03, 0, 0, Status::complete},      {0x04, 0, 0, Status::complete},
      {0x05, 1, 4, Status::complete},      {0x06, 0, 0, Status::unsupported},
      {0x08, 0, 0, Status::unsupported},   {0x09, 0, 0, Status::complete},
      {0x0a, 0, 0, Status::unsupported},   {0x0b, 1, 4, Status::complete},
      {0x0c, 12, 12, Status::unsupported}, {0x0e, 0, 0, Status::complete},
      {0x0f, 0, 0, Status::complete},      {0x10, 0, 0, Status::complete},
      {0x11, 4, 4, Status::complete},      {0x12, 16, 16, Status::unsupported},
  };
  for (const Case& c : cases) {
    Bytes bytes;
    Writer(bytes).u32(c.code);
    for (std::size_t body = 0; body <= 20; ++body) {
      const Parsed parsed = parse(bytes, 0);
      if (body < c.least) {
        EXPECT_EQ(parsed.status, Status::incomplete) << c.code << " body " << body;
      } else {
        EXPECT_EQ(parsed.status, c.status) << c.code << " body " << body;
        EXPECT_EQ(parsed.used, 4 + std::min(body, c.most)) << c.code << " body " << body;
        EXPECT_EQ(parsed.padding, c.most - std::min(body, c.most));
      }
      bytes.push_back(std::byte{0xff});
    }
  }
}

TEST(SwtpmProtocol, LengthlessRequestsAreUnframed) {
  for (const char* hex : {"00000007", "0000000d", "00000000", "00000013", "ffffffff", "80010000"}) {
    EXPECT_EQ(parse_hex(hex).status, Status::unframed) << hex;
  }
  for (const char* hex : {"", "00", "0000", "ffffff"}) {
    EXPECT_EQ(parse_hex(hex).status, Status::incomplete) << hex;
  }
}

TEST(SwtpmProtocol, Arguments) {
  EXPECT_EQ(parse_hex("0000000200000001").argument, 1U);
  EXPECT_EQ(parse_hex("0000001180000000").argument, 0x80000000U);
  EXPECT_EQ(parse_hex("0000000503").argument, 3U);
  EXPECT_EQ(parse_hex("0000000503ffffff").argument, 3U);
}

TEST(SwtpmProtocol, LatePaddingIsTheLastRequests) {
  const Parsed one = parse_hex("0000000502");
  EXPECT_EQ(one.padding, 3U);
  // The padding came after all, before GET_CAPABILITY; or it did not.
  EXPECT_EQ(parse_hex("00000000000001", 3).command, Command::get_capability);
  EXPECT_EQ(parse_hex("00000000000001", 3).used, 7U);
  EXPECT_EQ(parse_hex("00000001", 3).command, Command::get_capability);
  EXPECT_EQ(parse_hex("00000001", 3).used, 4U);
  EXPECT_EQ(parse_hex("0000000000", 3).status, Status::incomplete);
  EXPECT_EQ(parse_hex("0000000000", 3).used, 0U);
  EXPECT_EQ(parse_hex("0000000000", 3).padding, 3U);
  EXPECT_TRUE(only_padding(*from_hex("000000"), 3));
  EXPECT_FALSE(only_padding(*from_hex("000001"), 3));
  EXPECT_FALSE(only_padding(*from_hex("00000000"), 3));
  EXPECT_TRUE(only_padding({}, 0));
}

TEST(SwtpmProtocol, Answers) {
  EXPECT_EQ(to_hex(Answer::result(kBadLocality).bytes()), "0000003d");
  // INIT, SHUTDOWN, GET/RESET_TPMESTABLISHED, SET_LOCALITY, CANCEL, STOP, GET_CONFIG, SET_DATAFD,
  // SET_BUFFERSIZE and no more.
  EXPECT_EQ(to_hex(Answer::capabilities().bytes()), "0000000000003caf");
  EXPECT_EQ(to_hex(Answer::established(0, true).bytes()), "0000000001000000");
  EXPECT_EQ(to_hex(Answer::established(9, false).bytes()), "0000000900000000");
  EXPECT_EQ(to_hex(Answer::config().bytes()), "0000000000000000");
  EXPECT_EQ(to_hex(Answer::buffer_size().bytes()), "00000000000010000000100000001000");
}

TEST(SwtpmProtocol, RandomBytesNeverTakeMoreThanThereIs) {
  std::mt19937 random(20);
  for (int round = 0; round < 200'000; ++round) {
    Bytes bytes(random() % 24);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random() % 3 == 0 ? random() : 0);
    if (bytes.size() >= 4 && random() % 2 == 0) store_be32(bytes.data(), random() % 0x14);
    const Parsed parsed = parse(bytes, random() % 4);
    ASSERT_LE(parsed.used, bytes.size());
    if (parsed.status == Status::incomplete) {
      ASSERT_EQ(parsed.used, 0U);
      ASSERT_LT(bytes.size(), kMaxRequest + 3);
    }
    if (parsed.status == Status::complete) {
      ASSERT_GE(parsed.used, 4U);
    }
  }
}

}  // namespace
}  // namespace vtpm::channel::swtpm
