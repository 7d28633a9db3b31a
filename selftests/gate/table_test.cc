// SPDX-License-Identifier: Apache-2.0
// The command table and the frame parser against libtpms itself: a newer libtpms cannot bring in a
// command, a handle or a header check that nobody decided on.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <random>
#include <vector>

#include "frame/commands.h"
#include "frame/frame.h"
#include "tpm.h"

namespace vtpm::gate_test {
namespace {

Bytes hex(std::string_view digits) { return from_hex(digits).value(); }

Bytes header(std::uint16_t tag, std::uint32_t code, ByteView rest = {}) {
  Bytes out;
  Writer(out)
      .u16(tag)
      .u32(static_cast<std::uint32_t>(frame::kHeaderSize + rest.size()))
      .u32(code)
      .bytes(rest);
  return out;
}

TEST(CommandTable, IsWhatTheEngineSaysOfItself) {
  const std::unique_ptr<Tpm> tpm = Tpm::blank();
  tpm->startup();
  const Bytes reply =
      tpm->run(header(frame::kTagNoSessions, 0x17a, hex("000000020000000000000200")));
  Reader in(reply);
  in.bytes(frame::kHeaderSize);
  EXPECT_EQ(in.u8(), 0);  // moreData
  EXPECT_EQ(in.u32(), 2U);
  const std::uint32_t count = in.u32();
  std::map<std::uint32_t, std::uint32_t> attributes;  // TPMA_CC (Part 2, 8.9) by code
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t value = in.u32();
    attributes[value & 0xffff] = value;
  }
  ASSERT_TRUE(in.done());
  for (const auto& [code, value] : attributes) {
    const frame::CommandInfo* info = frame::find_command(code);
    ASSERT_NE(info, nullptr) << "libtpms has " << std::hex << code << ", the table has not";
    EXPECT_EQ(info->handles, value >> 25 & 7) << info->name;
    EXPECT_EQ(info->reply_handles, value >> 28 & 1) << info->name;
    EXPECT_EQ(value >> 29 & 1, 0U) << info->name << " is a vendor's";
  }
  for (const frame::CommandInfo& info : frame::command_table()) {
    EXPECT_TRUE(attributes.contains(info.code) || info.name == "CertifyX509") << info.name;
  }
}

// Before TPM2_Startup a command that exists answers TPM_RC_INITIALIZE and does nothing else, so
// every code can be sent.
TEST(CommandTable, HasEveryCodeThatTheEngineDoesNotRefuse) {
  const std::unique_ptr<Tpm> tpm = Tpm::blank();
  const auto exists = [&](std::uint32_t code) {
    return frame::response_code(tpm->run(header(frame::kTagNoSessions, code))) !=
           frame::kRcCommandCode;
  };
  for (std::uint32_t code = 0; code < 0x10000; ++code) {
    if (code == 0x144) continue;  // Startup itself
    EXPECT_EQ(exists(code), frame::find_command(code) != nullptr) << std::hex << code;
  }
  for (const frame::CommandInfo& info : frame::command_table()) {
    for (const std::uint32_t bit : {1U << 16, 1U << 22, 1U << 25, 1U << 29, 1U << 31}) {
      EXPECT_FALSE(exists(info.code | bit)) << info.name;
    }
  }
}

// How many handles are authorized: the engine says TPM_RC_AUTH_MISSING up to that many sessions,
// once every handle names something that is there.
TEST(CommandTable, AuthorizedHandlesAreTheEngines) {
  constexpr std::uint32_t auth_missing = 0x125;
  constexpr std::uint32_t index = 0x01500002;
  const Bytes create =
      hex("80020000004300000131400000010000000940000009000000000000040000"
          "0000001a0023000b00030472000000060080004300100003001000000000000000000000");
  const Bytes session =
      hex("80010000002b0000017640000007400000070010000102030405060708090a0b0c0d0e0f"
          "00000100"
          "10000b");
  for (const frame::CommandInfo& info : frame::command_table()) {
    if (info.handles == 0) {
      EXPECT_EQ(info.auth_handles, 0) << info.name;
      continue;
    }
    std::size_t needed = 0;
    for (std::size_t sessions = 0; sessions < 3; ++sessions) {
      const std::unique_ptr<Tpm> tpm = Tpm::manufacture();
      tpm->startup();
      Bytes primary = create;
      store_be32(primary.data() + 2, static_cast<std::uint32_t>(primary.size()));
      ASSERT_EQ(frame::response_code(tpm->run(primary)), 0U);
      Bytes start = session;
      store_be32(start.data() + 2, static_cast<std::uint32_t>(start.size()));
      ASSERT_EQ(frame::response_code(tpm->run(start)), 0U);
      start[start.size() - 5] = std::byte{0};  // an HMAC session
      ASSERT_EQ(frame::response_code(tpm->run(start)), 0U);
      ASSERT_EQ(frame::response_code(tpm->run(
                    header(frame::kTagSessions, 0x12a,
                           hex("40000001000000094000000900000000000000000e01500002000b000200020000"
                               "0008")))),
                0U);
      constexpr std::array<std::uint32_t, 9> there = {
          frame::kRhOwner, frame::kRhPlatform, frame::kRhLockout, frame::kRhEndorsement, 16, index,
          0x80000000,  // a key
          0x03000000,  // a policy session
          0x02000001,  // an HMAC session
      };
      std::size_t combinations = 1;
      for (int i = 0; i < info.handles; ++i) combinations *= there.size();
      bool missing = false;
      for (std::size_t c = 0; c < combinations && !missing; ++c) {
        Bytes rest;
        Writer w(rest);
        for (std::size_t i = 0, left = c; i < info.handles; ++i, left /= there.size()) {
          w.u32(there[left % there.size()]);
        }
        Bytes area;
        for (std::size_t i = 0; i < sessions; ++i) {
          Writer(area).u32(frame::kRsPassword).u16(0).u8(0).u16(0);
        }
        if (sessions != 0) w.sized32(area);
        w.u8(0);  // never a whole parameter list: nothing is executed
        const Bytes reply = tpm->run(
            header(sessions == 0 ? frame::kTagNoSessions : frame::kTagSessions, info.code, rest));
        missing = frame::response_code(reply) == auth_missing;
      }
      if (missing) needed = sessions + 1;
    }
    EXPECT_EQ(needed, info.auth_handles) << info.name;
  }
}

TEST(Parser, EveryTagIsAnsweredAsTheEngineDoes) {
  const std::unique_ptr<Tpm> tpm = Tpm::blank();
  tpm->startup();
  for (std::uint32_t tag = 0; tag < 0x10000; ++tag) {
    if (tag == frame::kTagNoSessions || tag == frame::kTagSessions) continue;
    const Bytes whole = header(static_cast<std::uint16_t>(tag), 0x17c);
    const frame::Parsed parsed = frame::parse(whole);
    EXPECT_EQ(parsed.malformed, frame::Malformed::bad_tag);
    EXPECT_EQ(frame::response_code(tpm->run(whole)), parsed.rc) << std::hex << tag;
    EXPECT_EQ(frame::response_code(tpm->run(ByteView(whole).first(3))), parsed.rc);
  }
}

TEST(Parser, CutAndWrongSizesAreAnsweredAsTheEngineDoes) {
  const std::unique_ptr<Tpm> tpm = Tpm::blank();
  tpm->startup();
  const Bytes whole = header(frame::kTagNoSessions, 0x182, hex("0000001000000000"));
  for (std::size_t n = 0; n < whole.size(); ++n) {
    for (const bool sized : {false, true}) {
      Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
      if (sized && n >= 6) store_be32(cut.data() + 2, static_cast<std::uint32_t>(n));
      const frame::Parsed parsed = frame::parse(cut);
      if (parsed.malformed == frame::Malformed::none) continue;
      EXPECT_EQ(frame::response_code(tpm->run(cut)), parsed.rc) << n << sized;
    }
  }
  for (const std::size_t size : {frame::kMaxFrame + 1, frame::kMaxFrame + 4096}) {
    const Bytes big = header(frame::kTagNoSessions, 0x17c, Bytes(size - frame::kHeaderSize));
    EXPECT_EQ(frame::response_code(tpm->run(big)), frame::parse(big).rc);
  }
}

// Random authorization areas of a command without handles. Password sessions, so that the engine's
// refusals of a handle do not come first; where the parser sees nothing wrong, neither may the
// engine find the area short or too long.
TEST(Parser, RandomAuthorizationAreasAreAnsweredAsTheEngineDoes) {
  const std::unique_ptr<Tpm> tpm = Tpm::blank();
  tpm->startup();
  std::mt19937 random(3);  // NOLINT: the same bytes on every run
  int malformed = 0;
  for (int i = 0; i < 20000; ++i) {
    Bytes area;
    Writer w(area);
    const std::size_t sessions = random() % 5;
    for (std::size_t s = 0; s < sessions; ++s) {
      const auto size = [&] { return random() % 4 == 0 ? random() % 80 : random() % 4; };
      const std::size_t nonce = random() % 8 == 0 ? 65 + random() % 9 : 0;  // a password has none
      w.u32(frame::kRsPassword).sized16(Bytes(nonce)).u8(0).sized16(Bytes(size()));
    }
    if (random() % 2 == 0)
      area.resize(area.size() - std::min<std::size_t>(area.size(), random() % 9));
    Bytes rest;
    Writer out(rest);
    const std::size_t announced = random() % 4 == 0 ? random() % 64 : area.size();
    out.u32(static_cast<std::uint32_t>(announced)).bytes(area).u16(4);
    const Bytes whole = header(frame::kTagSessions, 0x17b, rest);
    const frame::Parsed parsed = frame::parse(whole);
    const std::uint32_t rc = frame::response_code(tpm->run(whole));
    if (parsed.malformed != frame::Malformed::none) {
      ++malformed;
      // Garbage that begins a session: the engine looks at the handle's range first, the policy
      // does so later (session_uses_key).
      const bool handle = (rc & 0x8ff) == (0x800 | frame::kRcValue);
      EXPECT_TRUE(rc == parsed.rc || handle) << rc << " " << parsed.rc << " " << to_hex(whole);
    } else {
      EXPECT_EQ(rc & 0xfff, 0x98bU) << to_hex(whole);  // a password for a command without handles
    }
  }
  EXPECT_GT(malformed, 1000);
}

}  // namespace
}  // namespace vtpm::gate_test
