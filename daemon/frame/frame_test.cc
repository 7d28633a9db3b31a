// SPDX-License-Identifier: Apache-2.0
// Frames as clients send them, cut, bent and random. What libtpms itself answers to the malformed
// ones, and its own command list, are held against this module in selftests/gate.
#include "frame/frame.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "frame/commands.h"

namespace vtpm::frame {
namespace {

Bytes hex(std::string_view digits) { return from_hex(digits).value(); }

// PCR_Extend(PCR 16) with a password session and one SHA-256 digest's algorithm.
const Bytes kExtend = hex("80020000002100000182000000100000000940000009000000000000000001000b");

TEST(Commands, AreUniqueAndFound) {
  std::set<std::string_view> names;
  for (const CommandInfo& info : command_table()) {
    EXPECT_EQ(find_command(info.code), &info);
    EXPECT_EQ(find_command(info.name), &info);
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_LE(info.auth_handles, info.handles) << info.name;
    EXPECT_LE(info.handles, 3) << info.name;
    EXPECT_LE(info.reply_handles, 1) << info.name;
  }
  EXPECT_EQ(command_table().size(), 110U);
}

TEST(Commands, UnknownOnesAreNotFound) {
  for (std::uint32_t code : {0U, 0x11eU, 0x123U, 0x194U, 0x1017bU, 0x2000017bU, 0xffffffffU}) {
    EXPECT_EQ(find_command(code), nullptr) << code;
  }
  EXPECT_EQ(find_command("pcr_extend"), nullptr);
  EXPECT_EQ(find_command(""), nullptr);
}

TEST(Parse, TakesHandlesSessionsAndParametersApart) {
  const Parsed parsed = parse(kExtend);
  ASSERT_EQ(parsed.malformed, Malformed::none);
  ASSERT_TRUE(parsed.known);
  EXPECT_EQ(parsed.command.code, 0x182U);
  ASSERT_EQ(parsed.command.handles().size(), 1U);
  EXPECT_EQ(parsed.command.handles()[0], 16U);
  ASSERT_EQ(parsed.command.sessions().size(), 1U);
  EXPECT_EQ(parsed.command.sessions()[0].handle, kRsPassword);
  EXPECT_TRUE(parsed.command.sessions()[0].hmac.empty());
  EXPECT_EQ(to_hex(parsed.command.parameters), "00000001000b");
}

TEST(Parse, ReadsThreeSessionsWithNoncesAndAttributes) {
  const Bytes frame =
      hex("8002000000360000017b00000026"
          "020000000002aaaa010001bb"
          "030000000000200003cccccc"
          "02000001000100a00002dddd"  // a nonce of one zero byte
          "0004");
  Bytes sized = frame;
  store_be32(sized.data() + 2, static_cast<std::uint32_t>(sized.size()));
  store_be32(sized.data() + 10, static_cast<std::uint32_t>(sized.size() - 16));
  const Parsed parsed = parse(sized);
  ASSERT_EQ(parsed.malformed, Malformed::none);
  ASSERT_EQ(parsed.command.session_count, 3U);
  EXPECT_EQ(to_hex(parsed.command.sessions()[0].nonce), "aaaa");
  EXPECT_EQ(parsed.command.sessions()[0].attributes, 0x01);
  EXPECT_EQ(to_hex(parsed.command.sessions()[1].hmac), "cccccc");
  EXPECT_EQ(to_hex(parsed.command.sessions()[2].nonce), "00");
  EXPECT_EQ(parsed.command.sessions()[2].attributes, 0xa0);
  EXPECT_EQ(to_hex(parsed.command.parameters), "0004");
}

TEST(Parse, MalformedHeadersGetTheEnginesCode) {
  struct Case {
    const char* frame;
    Malformed what;
    std::uint32_t rc;
  };
  for (const Case& c : {
           Case{"", Malformed::too_short, kRcInsufficient},
           Case{"80", Malformed::too_short, kRcInsufficient},
           Case{"80010000", Malformed::too_short, kRcInsufficient},
           Case{"800100000006", Malformed::too_short, kRcInsufficient},
           Case{"80010000000c", Malformed::size_mismatch, kRcCommandSize},
           Case{"80010000000c0000017b000400", Malformed::size_mismatch, kRcCommandSize},
           Case{"80010000000b0000017b0004", Malformed::size_mismatch, kRcCommandSize},
           Case{"8001ffffffff0000017b0004", Malformed::size_mismatch, kRcCommandSize},
           Case{"80000000000c0000017b0004", Malformed::bad_tag, kRcBadTag},
           Case{"00c40000000c0000017b0004", Malformed::bad_tag, kRcBadTag},
           Case{"80030000000c0000017b0004", Malformed::bad_tag, kRcValue},
           Case{"00c1", Malformed::bad_tag, kRcValue},
           Case{"80010000000c000001820001", Malformed::handles, 0x19a},
           Case{"80020000000c0000017b0004", Malformed::sessions, kRcInsufficient},
           Case{"80020000000e0000017b00000000", Malformed::sessions, kRcSize},
           Case{"8002000000190000017b00000ff94000000900000000000004", Malformed::sessions, kRcSize},
           Case{"8002000000190000017b000000094000000900ff0000000004", Malformed::sessions, 0x995},
           Case{"8002000000190000017b00000009400000090005000000ffff", Malformed::sessions, 0x99a},
           Case{"80020000001a0000017b0000000a400000090000000000000004", Malformed::sessions, 0xa9a},
       }) {
    const Parsed parsed = parse(hex(c.frame));
    EXPECT_EQ(parsed.malformed, c.what) << c.frame;
    EXPECT_EQ(parsed.rc, c.rc) << c.frame;
  }
}

TEST(Parse, FourSessionsAreTooMany) {
  Bytes frame = hex("8002000000000000017b00000024");
  for (int i = 0; i < 4; ++i) {
    const Bytes session = hex("400000090000000000");
    frame.insert(frame.end(), session.begin(), session.end());
  }
  store_be32(frame.data() + 2, static_cast<std::uint32_t>(frame.size()));
  EXPECT_EQ(parse(frame).malformed, Malformed::sessions);
  EXPECT_EQ(parse(frame).rc, 0xc95U);
}

TEST(Parse, LargestFrameIsTakenAndOneMoreIsNot) {
  Bytes frame = hex("80010000000c0000017b0004");
  frame.resize(kMaxFrame);
  store_be32(frame.data() + 2, kMaxFrame);
  EXPECT_EQ(parse(frame).malformed, Malformed::none);
  frame.push_back(std::byte{0});
  store_be32(frame.data() + 2, kMaxFrame + 1);
  EXPECT_EQ(parse(frame).malformed, Malformed::size_mismatch);
}

TEST(Parse, UnknownCodeIsWellFormedButNotKnown) {
  const Parsed parsed = parse(hex("80010000000a00000fff"));
  EXPECT_EQ(parsed.malformed, Malformed::none);
  EXPECT_FALSE(parsed.known);
  EXPECT_EQ(parsed.command.code, 0xfffU);
}

TEST(Parse, EveryCutIsMalformedOrShorter) {
  for (std::size_t n = 0; n < kExtend.size(); ++n) {
    Bytes cut(kExtend.begin(), kExtend.begin() + static_cast<std::ptrdiff_t>(n));
    EXPECT_NE(parse(cut).malformed, Malformed::none) << n;  // the size field is wrong
    if (n < kHeaderSize) continue;
    store_be32(cut.data() + 2, static_cast<std::uint32_t>(n));
    const bool whole = n >= kExtend.size() - 6;  // only parameters are cut
    EXPECT_EQ(parse(cut).malformed == Malformed::none, whole) << n;
  }
}

TEST(Parse, RandomBytesStayInBounds) {
  std::mt19937 random(1);  // NOLINT: the same bytes on every run
  for (int i = 0; i < 200000; ++i) {
    Bytes frame(random() % 64);
    for (std::byte& b : frame) b = static_cast<std::byte>(random() % 4 == 0 ? random() : 0);
    if (frame.size() >= kHeaderSize) {
      store_be16(frame.data(), random() % 2 == 0 ? kTagSessions : kTagNoSessions);
      store_be32(frame.data() + 2, static_cast<std::uint32_t>(frame.size()));
      store_be32(frame.data() + 6, command_table()[random() % command_table().size()].code);
    }
    const Parsed parsed = parse(frame);
    const auto inside = [&](ByteView v) {
      return v.empty() || (v.data() >= frame.data() && v.size() <= frame.size() &&
                           v.data() + v.size() <= frame.data() + frame.size());
    };
    EXPECT_TRUE(inside(parsed.command.parameters));
    for (const Session& s : parsed.command.sessions()) {
      EXPECT_TRUE(inside(s.nonce) && inside(s.hmac));
    }
    EXPECT_EQ(parsed.malformed == Malformed::none, parsed.rc == 0);
  }
}

TEST(Tpm12Tag, IsSeenAlsoInAShortFrame) {
  EXPECT_TRUE(has_tpm12_tag(hex("00c1")));
  EXPECT_TRUE(has_tpm12_tag(hex("00c30000000a")));
  EXPECT_FALSE(has_tpm12_tag(hex("00c4")));
  EXPECT_FALSE(has_tpm12_tag(hex("00")));
  EXPECT_FALSE(has_tpm12_tag(hex("8001")));
}

TEST(Reply, HeaderAndCode) {
  EXPECT_EQ(to_hex(reply_header(kRcReadOnly)), "80010000000a00000156");
  EXPECT_EQ(response_code(reply_header(kRcReadOnly)), kRcReadOnly);
  EXPECT_EQ(response_code(hex("80010000000a000001")), kRcFailure);
}

}  // namespace
}  // namespace vtpm::frame
