// SPDX-License-Identifier: Apache-2.0
// The gate in front of libtpms, as in a worker: every conformance case on a blank device.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <set>
#include <thread>

#include "cases.h"
#include "frame/commands.h"
#include "policy/policy.h"
#include "tpm.h"

namespace vtpm::gate_test {
namespace {

class Pipeline {
 public:
  explicit Pipeline(policy::Options options) : gate_(options), tpm_(Tpm::blank()) {
    tpm_->startup();
  }
  // Sets `executed` to whether libtpms saw the frame.
  Bytes run(ByteView frame, bool& executed) {
    const policy::Decision decision = gate_.decide(frame, 0);
    executed = decision.allow;
    if (!decision.allow) return to_bytes(decision.reply);
    Bytes reply = tpm_->run(frame);
    gate_.observe(frame, reply);
    gate_.patch_reply(frame, reply);
    return reply;
  }
  void power_cycle() {
    const Bytes permanent = tpm_->permanent();
    tpm_.reset();  // before the next one is made
    tpm_ = Tpm::from(permanent);
    tpm_->startup();
  }
  [[nodiscard]] Tpm& tpm() { return *tpm_; }

 private:
  policy::Gate gate_;
  std::unique_ptr<Tpm> tpm_;
};

bool runs(const Case& one, bool linux_hmac) {
  return one.only == Only::always || (one.only == Only::with_linux_hmac) == linux_hmac;
}

// Where two volatile states differ though no command came between them: clocks and the hash.
std::set<std::size_t> differing(ByteView a, ByteView b) {
  std::set<std::size_t> offsets;
  if (a.size() != b.size()) return {std::size_t{0}};
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i]) offsets.insert(i);
  }
  return offsets;
}

// A clock is eight bytes, of which a short pause moves the low ones only.
bool is_clock_or_hash(std::size_t offset, const std::set<std::size_t>& moving, std::size_t size) {
  if (offset + 20 >= size) return true;
  const auto next = moving.lower_bound(offset);
  return next != moving.end() && *next - offset < 8;
}

class Cases : public testing::TestWithParam<bool> {};

TEST_P(Cases, AreAnsweredAsExpectedAndLeaveTheStateAsTheyMust) {
  Pipeline pipeline({.linux_hmac = GetParam()});
  Saved saved;

  for (const Case& one : cases()) {
    if (!runs(one, GetParam())) continue;
    SCOPED_TRACE(title(one));
    const std::optional<Bytes> frame = build(one, saved);
    ASSERT_TRUE(frame.has_value());
    const Bytes permanent = pipeline.tpm().permanent();
    const Bytes earlier = pipeline.tpm().volatile_state();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const Bytes volatile_state = pipeline.tpm().volatile_state();
    const std::set<std::size_t> moving = differing(earlier, volatile_state);
    ASSERT_LT(moving.size(), 40U);
    bool executed = false;
    const Bytes reply = pipeline.run(*frame, executed);
    EXPECT_EQ(judge(one, reply), "");
    keep(one, reply, saved);
    if (one.expect == Expect::denied) {
      EXPECT_FALSE(executed);
      EXPECT_EQ(pipeline.tpm().permanent(), permanent);
      const Bytes after = pipeline.tpm().volatile_state();
      for (const std::size_t offset : differing(volatile_state, after)) {
        EXPECT_TRUE(is_clock_or_hash(offset, moving, after.size())) << offset;
      }
    }
    EXPECT_TRUE(holds_no_secret(pipeline.tpm().permanent()));
  }
}

INSTANTIATE_TEST_SUITE_P(LinuxHmac, Cases, testing::Bool());

// What PCR_Allocate's condition rests on: a bank that is not named keeps its PCRs, and one that is
// named as it is changes nothing, also after the reset at which an allocation counts.
TEST(PcrAllocate, WhatTheGateLetsThroughChangesNothing) {
  const Bytes question = from_hex("8001000000160000017a000000050000000000000001").value();
  for (const char* selection : {"00000000", "00000001 000b 03 ffffff", "00000001 000b 04 ffffff00",
                                "00000001 0012 01 00", "00000001 0012 03 000000"}) {
    SCOPED_TRACE(selection);
    Pipeline pipeline({});
    bool executed = false;
    const Bytes before = pipeline.run(question, executed);
    ASSERT_GT(before.size(), 40U);
    Case allocate{"PCR_Allocate", "", "PLATFORM", selection};
    pipeline.run(build(allocate, {}).value(), executed);
    EXPECT_TRUE(executed);
    EXPECT_EQ(pipeline.tpm().run(question), before);
    pipeline.power_cycle();
    EXPECT_EQ(pipeline.tpm().run(question), before);
  }
}

TEST(PcrAllocate, AnotherAllocationIsSeenAfterTheReset) {
  const Bytes question = from_hex("8001000000160000017a000000050000000000000001").value();
  Pipeline pipeline({.pcr_banks_kept = true});
  bool executed = false;
  const Bytes before = pipeline.run(question, executed);
  // Only the SHA-1 bank goes: a TPM without PCRs of its own algorithm would refuse.
  Case allocate{"PCR_Allocate", "", "PLATFORM", "00000001 0004 03 000000"};
  pipeline.run(build(allocate, {}).value(), executed);
  EXPECT_TRUE(executed);
  pipeline.power_cycle();
  EXPECT_NE(pipeline.tpm().run(question), before);
}

TEST(CaseData, IsSoundAndNamesEveryCommand) {
  std::set<std::string_view> named;
  std::set<std::string> titles;
  // Stand-ins, so that also frames which use a saved value can be taken apart.
  Saved saved;
  for (const Case& one : cases()) {
    if (one.save == Save::handle) saved[std::string(one.save_as)] = from_hex("03000000").value();
    if (one.save == Save::context || one.save == Save::allocation) {
      saved[std::string(one.save_as)] = from_hex("00000000").value();
    }
  }
  for (const Case& one : cases()) {
    SCOPED_TRACE(title(one));
    EXPECT_TRUE(titles.insert(title(one)).second);
    const std::optional<Bytes> frame = build(one, saved);
    ASSERT_TRUE(frame.has_value());
    if (one.command.empty()) continue;
    named.insert(one.command);
    const frame::Parsed parsed = frame::parse(*frame);
    EXPECT_EQ(parsed.malformed, frame::Malformed::none);
    EXPECT_TRUE(parsed.known);
  }
  EXPECT_EQ(named.size(), frame::command_table().size());
}

TEST(CaseData, JudgesRepliesBothWays) {
  Case denied{"Sign", "", "", ""};
  EXPECT_EQ(judge(denied, from_hex("80010000000a00000156").value()), "");
  for (const char* wrong : {"80010000000a00000000", "80010000000a0000018b", "80020000000a00000156",
                            "80010000000b0000015600", "8001"}) {
    EXPECT_NE(judge(denied, from_hex(wrong).value()), "") << wrong;
  }
  Case passes{"Hash", "", "", "", Expect::passes};
  EXPECT_EQ(judge(passes, from_hex("80010000000a00000101").value()), "");
  EXPECT_NE(judge(passes, from_hex("80010000000a00000156").value()), "");
  passes.rc = 0;
  EXPECT_NE(judge(passes, from_hex("80010000000a00000101").value()), "");
}

// That the checks above can fail: without the gate the blank device makes keys and seeds.
TEST(Ungated, TheBlankDeviceWouldMakeKeysAndSeeds) {
  std::set<std::string> done;
  bool secret = false;
  for (const Case& one : cases()) {
    if (one.expect != Expect::denied || !runs(one, false)) continue;
    const std::optional<Bytes> frame = build(one, {});
    if (!frame) continue;
    const std::unique_ptr<Tpm> tpm = Tpm::blank();
    tpm->startup();
    if (frame::response_code(tpm->run(*frame)) == 0) done.insert(std::string(one.command));
    secret |= !holds_no_secret(tpm->permanent());
  }
  for (const char* command :
       {"CreatePrimary", "CreateLoaded", "LoadExternal", "ChangeEPS", "ChangePPS", "EC_Ephemeral",
        "NV_DefineSpace", "HierarchyChangeAuth", "ClockSet", "Clear"}) {
    EXPECT_TRUE(done.contains(command)) << command;
  }
  EXPECT_TRUE(secret);
}

// The denied frames are whole: with the keys, the NV index and the sessions that they name in
// place, an ungated TPM may refuse one for what it asks, but never for being cut short or too long.
TEST(Ungated, NoDeniedFrameIsShortOrLong) {
  const auto prepare = std::to_array<Case>({
      {"CreatePrimary", "", "OWNER",
       "0004 0000 0000 0018 0023 000b 00040472 0000 0010 0018 000b 0003 0010 0000 0000"
       "0000 00000000"},
      {"EvictControl", "", "OWNER 80000000", "81000001"},
      {"CreatePrimary", "", "OWNER",
       "0004 0000 0000 001a 0023 000b 00030472 0000 0006 0080 0043 0010 0003 0010 0000 0000"
       "0000 00000000"},
      {"EvictControl", "", "OWNER 80000001", "81000002"},
      {"NV_DefineSpace", "", "OWNER", "0000 000e 01500002 000b 00020002 0000 0008"},
      {"StartAuthSession", "", "NULL NULL",
       "0010 000102030405060708090a0b0c0d0e0f 0000 01 0010 000b"},
      {"StartAuthSession", "", "NULL NULL",
       "0010 000102030405060708090a0b0c0d0e0f 0000 00 0010 000b"},
  });
  for (const Case& one : cases()) {
    if (one.expect != Expect::denied || !runs(one, false)) continue;
    SCOPED_TRACE(title(one));
    const std::optional<Bytes> frame = build(one, {});
    if (!frame) continue;
    const std::unique_ptr<Tpm> tpm = Tpm::manufacture();
    tpm->startup();
    for (const Case& step : prepare) {
      ASSERT_EQ(frame::response_code(tpm->run(build(step, {}).value())), 0U) << title(step);
    }
    const std::uint32_t rc = frame::response_code(tpm->run(*frame));
    EXPECT_NE(rc & 0xbf, frame::kRcInsufficient) << std::hex << rc;
    EXPECT_NE(rc, frame::kRcSize) << "bytes left over";
  }
}

// A key of the endorsement hierarchy, made and saved on another blank TPM, loads into this one:
// the proof that protects its context is public. Why ContextLoad looks at the hierarchy.
TEST(ForeignContext, LoadsIntoABlankDeviceUnlessTheGateRefusesIt) {
  const Bytes create = from_hex(
                           "800200000041000001314000000b00000009400000090000000000"
                           "0004000000000018"
                           "0023000b0004047200000010"
                           "0018000b0003001000000000"
                           "000000000000")
                           .value();
  Bytes frame = create;
  store_be32(frame.data() + 2, static_cast<std::uint32_t>(frame.size()));
  Bytes load;
  {
    const std::unique_ptr<Tpm> elsewhere = Tpm::blank();
    elsewhere->startup();
    const Bytes made = elsewhere->run(frame);
    ASSERT_EQ(frame::response_code(made), 0U);
    Bytes save = from_hex("80010000000e00000162").value();
    save.insert(save.end(), made.begin() + 10, made.begin() + 14);
    const Bytes context = elsewhere->run(save);
    ASSERT_EQ(frame::response_code(context), 0U);
    Writer(load)
        .u16(frame::kTagNoSessions)
        .u32(static_cast<std::uint32_t>(context.size()))
        .u32(0x161)
        .bytes(ByteView(context).subspan(frame::kHeaderSize));
  }
  Pipeline pipeline({});
  bool executed = true;
  const Bytes refused = pipeline.run(load, executed);
  EXPECT_FALSE(executed);
  EXPECT_EQ(frame::response_code(refused), frame::kRcReadOnly);
  EXPECT_EQ(frame::response_code(pipeline.tpm().run(load)), 0U);  // the hole, without the gate
}

}  // namespace
}  // namespace vtpm::gate_test
