// SPDX-License-Identifier: Apache-2.0
// The table against the published one (Documentation/design/read-only-mode.rst): every command of
// the engine stands in exactly one class.
#include "policy/rules.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>

#include "frame/commands.h"
#include "policy/test_frames.h"

namespace vtpm::policy {
namespace {

std::set<std::string> words(const char* text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

const std::set<std::string> kAllowed = words(
    "Startup Shutdown SelfTest IncrementalSelfTest GetTestResult GetCapability TestParms "
    "ECC_Parameters ReadClock ReadPublic NV_ReadPublic NV_Read GetRandom StirRandom PCR_Read "
    "PCR_Extend PCR_Event PCR_Reset Hash HashSequenceStart SequenceUpdate SequenceComplete "
    "EventSequenceComplete PolicyPCR PolicyOR PolicyLocality PolicyCommandCode PolicyCpHash "
    "PolicyNameHash PolicyTemplate PolicyNvWritten PolicyCounterTimer PolicyPhysicalPresence "
    "PolicyDuplicationSelect PolicyGetDigest PolicyRestart PolicyPassword PolicyAuthValue PolicyNV "
    "FlushContext ContextSave HierarchyControl");
const std::set<std::string> kConditional = words(
    "StartAuthSession PolicySecret HierarchyChangeAuth PCR_Allocate GetTime GetSessionAuditDigest "
    "ContextLoad CreatePrimary");
const std::set<std::string> kDenied = words(
    "Create CreateLoaded EC_Ephemeral ECDH_KeyGen Commit ChangeEPS ChangePPS Clear Load "
    "LoadExternal Import EvictControl Duplicate Rewrap ObjectChangeAuth ActivateCredential "
    "MakeCredential Sign VerifySignature RSA_Encrypt RSA_Decrypt ECDH_ZGen ZGen_2Phase "
    "EncryptDecrypt EncryptDecrypt2 HMAC HMAC_Start Unseal Quote Certify CertifyCreation "
    "CertifyX509 NV_Certify GetCommandAuditDigest DictionaryAttackLockReset PolicySigned "
    "PolicyAuthorize PolicyTicket PolicyAuthorizeNV NV_DefineSpace NV_UndefineSpace "
    "NV_UndefineSpaceSpecial NV_Write NV_Increment NV_Extend NV_SetBits NV_WriteLock NV_ReadLock "
    "NV_GlobalWriteLock NV_ChangeAuth ClearControl SetPrimaryPolicy PCR_SetAuthPolicy "
    "PCR_SetAuthValue DictionaryAttackParameters SetCommandCodeAuditStatus SetAlgorithmSet "
    "PP_Commands ClockSet ClockRateAdjust");

TEST(Rules, OneRowForEachCommandOfTheEngine) {
  ASSERT_EQ(rules().size(), frame::command_table().size());
  for (std::size_t i = 0; i < rules().size(); ++i) {
    EXPECT_EQ(rules()[i].code, frame::command_table()[i].code) << rules()[i].name;
    EXPECT_EQ(rules()[i].name, frame::command_table()[i].name);
    EXPECT_EQ(find_rule(rules()[i].code), &rules()[i]);
  }
  EXPECT_EQ(find_rule(0x194), nullptr);
}

TEST(Rules, EveryCommandStandsInExactlyOneClass) {
  EXPECT_EQ(kAllowed.size() + kConditional.size() + kDenied.size(), 110U);
  for (const Rule& rule : rules()) {
    const std::string name(rule.name);
    EXPECT_EQ(kAllowed.contains(name), rule.verdict == Verdict::allow) << name;
    EXPECT_EQ(kConditional.contains(name), rule.verdict == Verdict::conditional) << name;
    EXPECT_EQ(kDenied.contains(name), rule.verdict == Verdict::deny) << name;
    EXPECT_EQ(rule.condition != nullptr, rule.verdict == Verdict::conditional) << name;
    EXPECT_EQ(rule.reason == Reason::allowed, rule.verdict == Verdict::allow) << name;
  }
}

TEST(Rules, DenyRowsRefuseWithTheirReasonAndTheTenBytes) {
  const Gate gate({});
  for (const Rule& rule : rules()) {
    if (rule.verdict != Verdict::deny) continue;
    const Decision decision =
        gate.decide(test::plain(*frame::find_command(rule.code), test::hex("0000000000000000")), 0);
    EXPECT_FALSE(decision.allow) << rule.name;
    EXPECT_EQ(decision.reason, rule.reason) << rule.name;
    EXPECT_EQ(decision.code, rule.code) << rule.name;
    EXPECT_EQ(to_hex(decision.reply), "80010000000a00000156") << rule.name;
    EXPECT_FALSE(to_string(decision.reason).empty());
    // The same bytes for a frame that names no handle at all, and with three sessions.
    EXPECT_EQ(to_hex(gate.decide(test::command(rule.code, {}, {}), 0).reply),
              "80010000000a00000156");
    EXPECT_EQ(
        to_hex(gate.decide(
                       test::command(rule.code, {1, 2, 3}, {0x02000000, 0x03000000, 0x02000001}), 4)
                   .reply),
        "80010000000a00000156");
  }
}

TEST(Rules, AllowRowsPass) {
  const Gate gate({});
  for (const Rule& rule : rules()) {
    if (rule.verdict != Verdict::allow) continue;
    EXPECT_TRUE(gate.decide(test::plain(*frame::find_command(rule.code)), 0).allow) << rule.name;
  }
}

TEST(Rules, ReadWriteAllowsTheWholeTable) {
  const Gate gate({.mode = Mode::read_write});
  for (const Rule& rule : rules()) {
    EXPECT_TRUE(gate.decide(test::plain(*frame::find_command(rule.code)), 0).allow) << rule.name;
    EXPECT_TRUE(gate.decide(test::command(rule.code, {}, {}), 0).allow) << rule.name;
  }
}

// In read-write mode, where every command of the table is executed.
Effect effect(ByteView frame, std::uint32_t response_code) {
  const Gate gate({.mode = Mode::read_write});
  return effect_of(gate.decide(frame, 0), response_code);
}

TEST(Effect, OnlyReadsWithoutSessionsLeaveNothing) {
  const std::set<std::string> reads = words(
      "GetTestResult GetCapability TestParms ECC_Parameters ReadClock ReadPublic NV_ReadPublic "
      "NV_Read GetRandom PCR_Read Hash PolicyGetDigest VerifySignature");
  const std::set<std::string> contexts =
      words("ContextSave ContextLoad FlushContext");  // the next test's
  for (const Rule& rule : rules()) {
    const frame::CommandInfo& info = *frame::find_command(rule.code);
    const std::vector<std::uint32_t> handles(info.handles, frame::kRhNull);
    const Bytes without = test::command(rule.code, handles, {});
    const Bytes with = test::command(rule.code, handles, {0x02000000});
    const Effect expected =
        reads.contains(std::string(rule.name)) ? Effect::none : Effect::volatile_state;
    EXPECT_EQ(effect(without, 0),
              contexts.contains(std::string(rule.name)) ? Effect::replayable : expected)
        << rule.name;
    EXPECT_EQ(effect(without, 0x125), expected) << rule.name;
    EXPECT_EQ(effect(without, frame::kRcFailure), Effect::volatile_state) << rule.name;
    EXPECT_EQ(effect(with, 0), Effect::volatile_state) << rule.name;
    EXPECT_EQ(effect(with, 0x98e), Effect::volatile_state) << rule.name;
    if (rule.verdict != Verdict::allow) continue;
    const Decision read_only = Gate({}).decide(test::plain(info), 0);
    const bool nothing = expected == Effect::none;  // of NV_Read with a password, too
    EXPECT_EQ(effect_of(read_only, 0) == Effect::none, nothing) << rule.name;
  }
}

TEST(Effect, WithAPasswordPcrCommandsAreReplayableAndAFewLeaveNothing) {
  const std::set<std::string> replayable = words("PCR_Extend PCR_Event PCR_Reset");
  const std::set<std::string> nothing =
      words("NV_Read Unseal RSA_Decrypt ECDH_ZGen HMAC EncryptDecrypt EncryptDecrypt2");
  constexpr std::uint32_t hmac_session = 0x02000000;
  for (const Rule& rule : rules()) {
    const std::vector<std::uint32_t> handles(frame::find_command(rule.code)->handles, 0);
    const Bytes password = test::command(rule.code, handles, {frame::kRsPassword});
    const std::string name(rule.name);
    EXPECT_EQ(effect(password, 0), replayable.contains(name) ? Effect::replayable
                                   : nothing.contains(name)  ? Effect::none
                                                             : Effect::volatile_state)
        << rule.name;
    EXPECT_EQ(effect(password, 0x98e), Effect::volatile_state) << rule.name;
    EXPECT_EQ(effect(password, frame::kRcFailure), Effect::volatile_state) << rule.name;
    const Bytes audited = test::command(rule.code, handles, {frame::kRsPassword, hmac_session});
    EXPECT_EQ(effect(audited, 0), Effect::volatile_state) << rule.name;
  }
}

TEST(Effect, ContextsThatAreSavedLoadedOrFlushedAreReplayable) {
  for (const std::uint32_t code :
       {frame::kCcContextSave, frame::kCcContextLoad, frame::kCcFlushContext}) {
    const Bytes frame = test::plain(*frame::find_command(code), test::hex("80000000"));
    EXPECT_EQ(effect(frame, 0), Effect::replayable);
    for (const std::uint32_t rc : {0x125U, 0x902U, frame::kRcFailure})
      EXPECT_EQ(effect(frame, rc), Effect::volatile_state) << rc;
    EXPECT_EQ(effect(test::command(code, {}, {frame::kRsPassword}), 0), Effect::volatile_state);
    EXPECT_EQ(effect(test::command(code, {}, {0x02000000}), 0), Effect::volatile_state);
  }
}

TEST(Effect, WhatTheEngineRefusesByItsHeaderLeavesNothing) {
  for (const char* frame :
       {"", "8001", "00c10000000a00000065", "80010000000a00000fff", "80010000000b0000017e"}) {
    EXPECT_EQ(effect(test::hex(frame), 0x84), Effect::none) << frame;
    EXPECT_EQ(effect(test::hex(frame), frame::kRcFailure), Effect::volatile_state) << frame;
  }
}

}  // namespace
}  // namespace vtpm::policy
