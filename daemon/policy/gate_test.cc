// SPDX-License-Identifier: Apache-2.0
// The gate: each condition both ways, frames cut at every byte, what it learns from replies.
#include <gtest/gtest.h>

#include <random>

#include "policy/policy.h"
#include "policy/rules.h"
#include "policy/test_frames.h"

namespace vtpm::policy {
namespace {

using test::command;
using test::hex;
using test::reply;

constexpr std::uint32_t kPassword = frame::kRsPassword;
constexpr std::uint32_t kHmac = 0x02000000;
constexpr std::uint32_t kPolicy = 0x03000000;
constexpr std::uint32_t kKey = 0x81000001;
constexpr std::uint32_t kLoaded = 0x80000000;

Reason ask(const Gate& gate, const Bytes& frame) {
  const Decision decision = gate.decide(frame, 0);
  EXPECT_EQ(decision.allow, decision.reason == Reason::allowed);
  if (!decision.allow && decision.rc == frame::kRcReadOnly) {
    EXPECT_EQ(to_hex(decision.reply), "80010000000a00000156");
  }
  return decision.reason;
}

Reason ask(const Bytes& frame) { return ask(Gate({}), frame); }

Bytes start_session(std::uint32_t tpm_key, std::uint32_t bind, const char* type = "00") {
  return command("StartAuthSession", {tpm_key, bind}, {},
                 hex(std::string("0010000102030405060708090a0b0c0d0e0f0000") + type + "0010000b"));
}

Bytes policy_secret(std::uint32_t entity, const char* expiration) {
  return command("PolicySecret", {entity, kPolicy}, {kPassword},
                 hex(std::string("0002aaaa0000"
                                 "0003bbbbbb") +
                     expiration));
}

Bytes context(std::uint32_t saved_handle, std::uint32_t hierarchy) {
  Bytes parameters;
  Writer(parameters).u64(1).u32(saved_handle).u32(hierarchy).sized16(hex("0011223344"));
  return command("ContextLoad", {}, {}, parameters);
}

Bytes loaded_handle(std::uint32_t handle) {
  Bytes body;
  Writer(body).u32(handle);
  return reply(body);
}

TEST(Condition, StartAuthSession) {
  EXPECT_EQ(ask(start_session(frame::kRhNull, frame::kRhNull)), Reason::allowed);
  EXPECT_EQ(ask(start_session(frame::kRhNull, frame::kRhNull, "01")), Reason::allowed);
  EXPECT_EQ(ask(start_session(kKey, frame::kRhNull)), Reason::salted_or_bound_session);
  EXPECT_EQ(ask(start_session(kLoaded, frame::kRhNull)), Reason::salted_or_bound_session);
  EXPECT_EQ(ask(start_session(frame::kRhNull, frame::kRhOwner)), Reason::salted_or_bound_session);
  EXPECT_EQ(ask(start_session(frame::kRhNull, frame::kRhLockout)), Reason::salted_or_bound_session);
}

TEST(Condition, PolicySecret) {
  for (std::uint32_t open :
       {frame::kRhOwner, frame::kRhEndorsement, frame::kRhPlatform, frame::kRhNull}) {
    EXPECT_EQ(ask(policy_secret(open, "00000000")), Reason::allowed);
    EXPECT_EQ(ask(policy_secret(open, "7fffffff")), Reason::allowed);
    EXPECT_EQ(ask(policy_secret(open, "ffffffff")), Reason::asks_for_ticket);
    EXPECT_EQ(ask(policy_secret(open, "80000000")), Reason::asks_for_ticket);
  }
  EXPECT_EQ(ask(policy_secret(frame::kRhLockout, "00000000")), Reason::lockout_authorization);
  for (std::uint32_t other : {0U, 16U, kKey, kLoaded, 0x01500000U, 0x40000010U, kHmac}) {
    EXPECT_EQ(ask(policy_secret(other, "00000000")), Reason::uses_key) << other;
  }
}

TEST(Condition, HierarchyChangeAuth) {
  const auto change = [](std::uint32_t hierarchy) {
    return command("HierarchyChangeAuth", {hierarchy}, {kPassword}, hex("0004aabbccdd"));
  };
  EXPECT_EQ(ask(change(frame::kRhPlatform)), Reason::allowed);
  EXPECT_EQ(ask(change(frame::kRhOwner)), Reason::hierarchy_not_platform);
  EXPECT_EQ(ask(change(frame::kRhEndorsement)), Reason::hierarchy_not_platform);
  EXPECT_EQ(ask(change(frame::kRhLockout)), Reason::lockout_authorization);
}

TEST(Condition, AttestationsOnlyUnsigned) {
  const auto time = [](std::uint32_t key) {
    return command("GetTime", {frame::kRhEndorsement, key}, {kPassword, kPassword},
                   hex("00000010"));
  };
  EXPECT_EQ(ask(time(frame::kRhNull)), Reason::allowed);
  EXPECT_EQ(ask(time(kKey)), Reason::attests_by_key);
  const auto digest = [](std::uint32_t key) {
    return command("GetSessionAuditDigest", {frame::kRhEndorsement, key, kHmac},
                   {kPassword, kPassword}, hex("00000010"));
  };
  EXPECT_EQ(ask(digest(frame::kRhNull)), Reason::allowed);
  EXPECT_EQ(ask(digest(kLoaded)), Reason::attests_by_key);
}

TEST(Condition, ContextLoad) {
  EXPECT_EQ(ask(context(kHmac, frame::kRhNull)), Reason::allowed);
  EXPECT_EQ(ask(context(0x80000001, frame::kRhNull)), Reason::allowed);
  for (std::uint32_t keyed : {frame::kRhOwner, frame::kRhEndorsement, frame::kRhPlatform, 0U}) {
    EXPECT_EQ(ask(context(kLoaded, keyed)), Reason::context_of_keyed_hierarchy);
    EXPECT_EQ(ask(context(kPolicy, keyed)), Reason::context_of_keyed_hierarchy);
  }
}

TEST(Condition, PcrAllocateKeepsWhatIsInForce) {
  const auto allocate = [](const char* selection) {
    return command("PCR_Allocate", {frame::kRhPlatform}, {kPassword}, hex(selection));
  };
  const char* same =
      "00000002"
      "000b03ffffff"
      "000c03ffffff";
  Gate gate({});
  EXPECT_EQ(ask(gate, allocate(same)), Reason::pcr_allocation_changes);  // nothing seen yet
  const Bytes question = command("GetCapability", {}, {}, hex("000000050000000000000001"));
  const Bytes answer =
      reply(hex("00"
                "00000005"
                "00000003"
                "000403000000"
                "000b03ffffff"
                "000c03ffffff"));
  gate.observe(question, answer);
  EXPECT_EQ(ask(gate, allocate(same)), Reason::allowed);
  EXPECT_EQ(ask(gate, allocate("00000001000b03ffffff")), Reason::allowed);
  EXPECT_EQ(ask(gate, allocate("00000001000b04ffffff00")), Reason::allowed);
  EXPECT_EQ(ask(gate, allocate("000000010004"
                               "03000000")),
            Reason::allowed);
  EXPECT_EQ(ask(gate, allocate("000000010012"
                               "0100")),
            Reason::allowed);  // no such bank, no PCR
  EXPECT_EQ(ask(gate, allocate("00000000")), Reason::allowed);
  EXPECT_EQ(ask(gate, allocate("00000001000b03000000")), Reason::pcr_allocation_changes);
  EXPECT_EQ(ask(gate, allocate("00000001000403ffffff")), Reason::pcr_allocation_changes);
  EXPECT_EQ(ask(gate, allocate("00000001000b03fffffe")), Reason::pcr_allocation_changes);
  // The last selection of a bank counts.
  EXPECT_EQ(ask(gate, allocate("00000002000b03ffffff000b03000000")),
            Reason::pcr_allocation_changes);
  EXPECT_EQ(ask(gate, allocate("00000001000b03ffffff00")), Reason::pcr_allocation_changes);
  EXPECT_EQ(ask(gate, allocate("ffffffff000b03ffffff")), Reason::pcr_allocation_changes);
  EXPECT_EQ(ask(Gate({.pcr_banks_kept = true}), allocate("00000001000b03000000")), Reason::allowed);
}

TEST(Condition, PcrAllocationIsLearntFromSoundRepliesOnly) {
  const Bytes allocate =
      command("PCR_Allocate", {frame::kRhPlatform}, {kPassword}, hex("00000001000b03ffffff"));
  const Bytes question = command("GetCapability", {}, {}, hex("000000050000000000000001"));
  const Bytes answer = reply(hex("000000000500000001000b03ffffff"));
  for (std::size_t n = 0; n < answer.size(); ++n) {
    Gate gate({});
    gate.observe(question, ByteView(answer).first(n));
    EXPECT_EQ(ask(gate, allocate), Reason::pcr_allocation_changes) << n;
  }
  Gate gate({});
  gate.observe(command("GetRandom", {}, {}, hex("0004")), answer);
  EXPECT_EQ(ask(gate, allocate), Reason::pcr_allocation_changes);
  gate.observe(question, answer);
  EXPECT_EQ(ask(gate, allocate), Reason::allowed);
}

TEST(Condition, CreatePrimaryOnlyForLinuxAndOnlyExactly) {
  const Bytes exact = test::linux_null_primary();
  const Gate linux_gate({.linux_hmac = true});
  EXPECT_EQ(ask(exact), Reason::generates_key);
  EXPECT_EQ(ask(linux_gate, exact), Reason::allowed);
  for (std::size_t i = frame::kHeaderSize; i < exact.size(); ++i) {
    if (i == frame::kHeaderSize + 14) continue;  // the session's attributes do not matter
    for (int bit = 0; bit < 8; ++bit) {
      Bytes bent = exact;
      bent[i] ^= static_cast<std::byte>(1 << bit);
      EXPECT_EQ(ask(linux_gate, bent), Reason::generates_key) << i << " " << bit;
    }
  }
  Bytes longer = exact;
  longer.push_back(std::byte{0});
  store_be32(longer.data() + 2, static_cast<std::uint32_t>(longer.size()));
  EXPECT_EQ(ask(linux_gate, longer), Reason::generates_key);
}

TEST(LinuxHmac, SessionsMayBeSaltedToTheNullPrimaryWhereverItIsLoaded) {
  Gate gate({.linux_hmac = true});
  const auto salted = [&](std::uint32_t key) {
    return ask(gate, start_session(key, frame::kRhNull));
  };
  constexpr std::uint32_t made = 0x80000002;
  constexpr std::uint32_t again = 0x80000001;
  EXPECT_EQ(salted(made), Reason::salted_or_bound_session);
  gate.observe(test::linux_null_primary(), loaded_handle(made));
  EXPECT_EQ(salted(made), Reason::allowed);
  EXPECT_EQ(salted(again), Reason::salted_or_bound_session);
  EXPECT_EQ(ask(gate, start_session(made, frame::kRhOwner)), Reason::salted_or_bound_session);
  EXPECT_EQ(ask(gate, start_session(made, frame::kRhNull, "01")), Reason::salted_or_bound_session);

  Bytes flush;
  Writer(flush).u32(made);
  gate.observe(command("FlushContext", {}, {}, flush), reply({}));
  EXPECT_EQ(salted(made), Reason::salted_or_bound_session);
  gate.observe(context(kLoaded, frame::kRhNull), loaded_handle(again));
  EXPECT_EQ(salted(again), Reason::allowed);
  gate.observe(command("Startup", {}, {}, hex("0000")), reply({}));
  EXPECT_EQ(salted(again), Reason::salted_or_bound_session);
}

TEST(LinuxHmac, NothingElseBecomesANullPrimary) {
  const auto salted_after = [](Options options, const Bytes& frame, const Bytes& answer) {
    Gate gate(options);
    gate.observe(frame, answer);
    return ask(gate, start_session(kLoaded, frame::kRhNull));
  };
  const Options on{.linux_hmac = true};
  const Bytes answer = loaded_handle(kLoaded);
  const Reason no = Reason::salted_or_bound_session;
  EXPECT_EQ(salted_after(on, test::linux_null_primary(), answer), Reason::allowed);
  EXPECT_EQ(salted_after({}, test::linux_null_primary(), answer), no);
  EXPECT_EQ(salted_after({}, context(kLoaded, frame::kRhNull), answer), no);
  EXPECT_EQ(salted_after(on, context(0x80000001, frame::kRhNull), answer), no);  // a sequence
  EXPECT_EQ(salted_after(on, context(0x80000002, frame::kRhNull), answer), no);  // stClear
  EXPECT_EQ(salted_after(on, context(kLoaded, frame::kRhOwner), answer), no);
  EXPECT_EQ(salted_after(on, command("HashSequenceStart", {}, {}, hex("0000000b")), answer), no);
  Bytes failed = answer;
  failed[9] = std::byte{1};
  EXPECT_EQ(salted_after(on, test::linux_null_primary(), failed), no);
  EXPECT_EQ(salted_after(on, test::linux_null_primary(), reply({})), no);
  // Its handle may not be taken over by another object.
  Gate gate(on);
  gate.observe(test::linux_null_primary(), answer);
  gate.observe(command("HashSequenceStart", {}, {}, hex("0000000b")), answer);
  EXPECT_EQ(ask(gate, start_session(kLoaded, frame::kRhNull)), no);
}

TEST(Walk, AuthorizationsThatUseAKeyOrCountForGood) {
  const auto read = [](std::uint32_t handle, std::uint32_t session) {
    return command("NV_Read", {handle, 0x01500000}, {session}, hex("00080000"));
  };
  EXPECT_EQ(ask(read(frame::kRhOwner, kPassword)), Reason::allowed);
  EXPECT_EQ(ask(read(frame::kRhOwner, kHmac)), Reason::allowed);
  EXPECT_EQ(ask(read(frame::kRhOwner, kPolicy)), Reason::allowed);
  EXPECT_EQ(ask(read(frame::kRhLockout, kPassword)), Reason::lockout_authorization);
  EXPECT_EQ(ask(read(frame::kRhLockout, kPolicy)), Reason::lockout_authorization);
  EXPECT_EQ(ask(read(kKey, kPassword)), Reason::session_uses_key);
  EXPECT_EQ(ask(read(kLoaded, kPassword)), Reason::session_uses_key);
  EXPECT_EQ(ask(read(frame::kRhOwner, kKey)), Reason::session_uses_key);
  EXPECT_EQ(ask(read(frame::kRhOwner, frame::kRhOwner)), Reason::session_uses_key);
  EXPECT_EQ(ask(command("GetRandom", {}, {kHmac, kLoaded}, hex("0004"))), Reason::session_uses_key);
}

TEST(Walk, SequencesAreAuthorizedButNotTheNullPrimary) {
  Gate gate({.linux_hmac = true});
  gate.observe(test::linux_null_primary(), loaded_handle(kLoaded));
  const auto update = [](std::uint32_t handle) {
    return command("SequenceUpdate", {handle}, {kPassword}, hex("00020102"));
  };
  EXPECT_EQ(ask(gate, update(kLoaded)), Reason::session_uses_key);
  EXPECT_EQ(ask(gate, update(0x80000001)), Reason::allowed);
  EXPECT_EQ(ask(gate, update(kKey)), Reason::session_uses_key);
}

// Every conditional command, cut after each byte, with its size field made right again: the gate
// reads inside the frame only (ASan), and allows nothing whose condition is not there to see.
TEST(Hostile, ConditionalCommandsCutAtEveryByte) {
  Gate gate({.linux_hmac = true});
  gate.observe(test::linux_null_primary(), loaded_handle(kLoaded));
  const Bytes question = command("GetCapability", {}, {}, hex("000000050000000000000001"));
  gate.observe(question, reply(hex("000000000500000001000b03ffffff")));
  struct Case {
    Bytes frame;
    std::size_t enough;  // bytes that show the condition
  };
  const Bytes allocate =
      command("PCR_Allocate", {frame::kRhPlatform}, {kPassword}, hex("00000001000b03ffffff"));
  const Bytes primary = test::linux_null_primary();
  const Bytes secret = policy_secret(frame::kRhOwner, "00000000");
  const Bytes salted = start_session(kLoaded, frame::kRhNull);
  for (const Case& c : {
           Case{start_session(frame::kRhNull, frame::kRhNull), 18},
           Case{salted, salted.size() - 4},
           Case{secret, secret.size()},
           Case{command("HierarchyChangeAuth", {frame::kRhPlatform}, {kPassword}, hex("0001aa")),
                27},
           Case{allocate, allocate.size()},
           Case{command("GetTime", {frame::kRhEndorsement, frame::kRhNull}, {kPassword, kPassword},
                        hex("00000010")),
                40},
           Case{command("GetSessionAuditDigest", {frame::kRhEndorsement, frame::kRhNull, kHmac},
                        {kPassword, kPassword}, hex("00000010")),
                44},
           Case{context(kHmac, frame::kRhNull), 26},
           Case{primary, primary.size()},
       }) {
    ASSERT_TRUE(gate.decide(c.frame, 0).allow) << to_hex(c.frame);
    for (std::size_t n = frame::kHeaderSize; n < c.frame.size(); ++n) {
      Bytes cut(c.frame.begin(), c.frame.begin() + static_cast<std::ptrdiff_t>(n));
      cut.shrink_to_fit();  // so that ASan sees a read past the end
      store_be32(cut.data() + 2, static_cast<std::uint32_t>(n));
      const Decision decision = gate.decide(cut, 0);
      EXPECT_EQ(decision.allow, n >= c.enough) << n << " of " << to_hex(c.frame);
      if (!decision.allow) {
        EXPECT_EQ(decision.rc, frame::kRcReadOnly) << n;
      }
      gate.observe(cut, loaded_handle(0x80000002));
      EXPECT_EQ(gate.decide(cut, 0).allow, n >= c.enough);
    }
  }
}

TEST(Hostile, RandomFramesNeverPassADenyRow) {
  std::mt19937 random(7);  // NOLINT: the same bytes on every run
  Gate gate({.linux_hmac = true});
  for (int i = 0; i < 200000; ++i) {
    Bytes frame(frame::kHeaderSize + random() % 80);
    for (std::byte& b : frame) b = static_cast<std::byte>(random() % 3 == 0 ? random() : 0);
    const Rule& rule = rules()[random() % rules().size()];
    store_be16(frame.data(), random() % 2 == 0 ? frame::kTagSessions : frame::kTagNoSessions);
    store_be32(frame.data() + 2, static_cast<std::uint32_t>(frame.size()));
    store_be32(frame.data() + 6, rule.code);
    Bytes answer(random() % 40);
    for (std::byte& b : answer) b = static_cast<std::byte>(random() % 3 == 0 ? random() : 0);
    const Decision decision = gate.decide(frame, 0);
    if (rule.verdict == Verdict::deny) {
      EXPECT_FALSE(decision.allow) << rule.name;
      EXPECT_EQ(decision.rc, frame::kRcReadOnly);
    }
    gate.observe(frame, answer);
    gate.patch_reply(frame, answer);
    EXPECT_EQ(effect_of(decision, frame::kRcFailure), Effect::volatile_state);
  }
}

TEST(Header, MalformedAndUnknownFramesStopInBothModes) {
  for (const Mode mode : {Mode::read_only, Mode::read_write}) {
    const Gate gate({.mode = mode});
    const Decision unknown = gate.decide(hex("80010000000a00000fff"), 0);
    EXPECT_EQ(unknown.reason, Reason::unknown_command);
    EXPECT_EQ(to_hex(unknown.reply), "80010000000a00000143");
    EXPECT_EQ(to_hex(gate.decide(hex("80010000000a2000017b"), 0).reply), "80010000000a00000143");
    EXPECT_EQ(to_hex(gate.decide({}, 0).reply), "80010000000a0000009a");
    EXPECT_EQ(to_hex(gate.decide(hex("80010000000b0000017e"), 0).reply), "80010000000a00000142");
    EXPECT_EQ(to_hex(gate.decide(hex("80000000000a0000017e"), 0).reply), "80010000000a0000001e");
    EXPECT_EQ(gate.decide(hex("80000000000a0000017e"), 0).code, 0U);
    EXPECT_TRUE(gate.decide(hex("00c10000000a00000065"), 0).allow);  // TPM 1.2: the engine answers
    EXPECT_TRUE(gate.decide(hex("00c1"), 0).allow);
  }
}

TEST(Header, MalformedSessionsOfAnAllowedCommandNeverReachTheEngine) {
  const Bytes frame = hex("8002000000190000017b000000094000000900ff0000000004");
  const Decision decision = Gate({}).decide(frame, 0);
  EXPECT_EQ(decision.reason, Reason::malformed);
  EXPECT_EQ(decision.rc, 0x995U);
  EXPECT_EQ(decision.code, 0x17bU);
  EXPECT_TRUE(Gate({.mode = Mode::read_write}).decide(frame, 0).allow);  // the engine says it
}

TEST(Mode, SwitchesAtOnce) {
  Gate gate({});
  const Bytes create = test::plain(*frame::find_command("Create"));
  EXPECT_EQ(ask(gate, create), Reason::generates_key);
  gate.set_mode(Mode::read_write);
  EXPECT_EQ(gate.mode(), Mode::read_write);
  EXPECT_EQ(ask(gate, create), Reason::allowed);
  EXPECT_EQ(to_string(Mode::read_only), "read-only");
  EXPECT_EQ(to_string(Mode::read_write), "read-write");
}

}  // namespace
}  // namespace vtpm::policy
