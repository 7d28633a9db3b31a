// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/checkpoint.h"
#include "engine/state_blob.h"
#include "engine/test_commands.h"

namespace vtpm::engine {
namespace {

using namespace testing;
using ::testing::Each;
using ::testing::Not;

struct Saved {
  SecretBytes permanent, volatile_state;
};
Saved save(Engine& tpm) { return {tpm.permanent().value(), tpm.volatile_state().value()}; }
StartOptions resume(const Saved& saved, bool sole = true) {
  return {Origin::restore, saved.permanent, saved.volatile_state, sole};
}

TEST(Engine, StartsBlank) {
  auto tpm = must_start({});
  EXPECT_TRUE(is_blank(tpm->permanent().value()).value());
  EXPECT_EQ(startup(*tpm), 0U);
  EXPECT_EQ(run(*tpm, 0x143, {}, 0, {std::byte{1}}).rc, 0U);  // SelfTest
  EXPECT_EQ(pcr_extend(*tpm, 7, 3), 0U);
  EXPECT_THAT(pcr_read(*tpm, 7), Not(Each(std::byte{0})));
  EXPECT_EQ(get_random(*tpm).size(), 32U);
}

TEST(Engine, StartsFresh) {
  auto tpm = must_start({.origin = Origin::fresh});
  EXPECT_FALSE(is_blank(tpm->permanent().value()).value());
  EXPECT_EQ(startup(*tpm), 0U);
  EXPECT_EQ(create_primary(*tpm, kEndorsement).rc, 0U);
}

TEST(Engine, IsOneAtATime) {
  auto first = must_start({});
  const auto second = Engine::start({});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::busy);
  EXPECT_EQ(startup(*first), 0U);  // and the refusal does not disturb it
  first.reset();
  EXPECT_TRUE(Engine::start({}));
}

TEST(Engine, PcrsSurviveRestore) {
  auto tpm = must_start({});
  ASSERT_EQ(startup(*tpm), 0U);
  ASSERT_EQ(pcr_extend(*tpm, 7, 3), 0U);
  const Bytes before = pcr_read(*tpm, 7);
  const Saved saved = save(*tpm);
  for (const bool sole : {true, false}) {
    tpm.reset();
    tpm = must_start(resume(saved, sole));
    EXPECT_EQ(startup(*tpm), 0x100U);  // it is on already
    EXPECT_EQ(pcr_read(*tpm, 7), before);
  }
}

TEST(Engine, RandomBytesNeverRepeatAfterTwoResumes) {
  auto tpm = must_start({});
  ASSERT_EQ(startup(*tpm), 0U);
  get_random(*tpm);
  const Saved saved = save(*tpm);
  for (const bool sole : {true, false}) {
    std::vector<Bytes> random, nonces;
    for (int i = 0; i < 2; i++) {
      tpm.reset();
      tpm = must_start(resume(saved, sole));
      random.push_back(get_random(*tpm));
      const Session session = start_session(*tpm);
      EXPECT_EQ(session.rc, 0U);
      nonces.push_back(session.nonce);
      ASSERT_EQ(random.back().size(), 32U);
      ASSERT_FALSE(nonces.back().empty());
    }
    EXPECT_NE(random[0], random[1]);
    EXPECT_NE(nonces[0], nonces[1]);
  }
}

TEST(Engine, CommitNonceChangesOnlyWithoutSoleContinuation) {
  auto tpm = must_start({.origin = Origin::fresh});
  ASSERT_EQ(startup(*tpm), 0U);
  const Saved saved = save(*tpm);
  const auto commit_nonce = [](const SecretBytes& blob) {
    const VolatileLayout v = parse_volatile(blob).value();
    EXPECT_GE(v.commit_nonce.size, 32U);
    return to_hex(ByteView(blob).subspan(v.commit_nonce.offset, v.commit_nonce.size));
  };
  const std::string before = commit_nonce(saved.volatile_state);
  tpm.reset();
  tpm = must_start(resume(saved, true));
  EXPECT_EQ(commit_nonce(tpm->volatile_state().value()), before);
  tpm.reset();
  tpm = must_start(resume(saved, false));
  EXPECT_NE(commit_nonce(tpm->volatile_state().value()), before);
}

TEST(Engine, SequencesAndObjectsSurviveRestore) {
  auto tpm = must_start({.origin = Origin::fresh});
  ASSERT_EQ(startup(*tpm), 0U);
  const Bytes part(40, std::byte{'a'});
  // HashSequenceStart(SHA-256), SequenceUpdate
  const Reply sequence = run(*tpm, 0x186, {}, 0, Parameters().u16(0).u16(0x0b).bytes);
  ASSERT_EQ(sequence.rc, 0U);
  const std::uint32_t hash = load_be32(sequence.body.data());
  ASSERT_EQ(run(*tpm, 0x15c, {hash}, 1, Parameters().sized(part).bytes).rc, 0U);
  const Reply key = create_primary(*tpm, kOwner);
  ASSERT_EQ(key.rc, 0U);
  const std::uint32_t object = load_be32(key.body.data());
  const Reply before = run(*tpm, 0x173, {object}, 0);  // ReadPublic
  const Session session = start_session(*tpm, 1);
  ASSERT_EQ(session.rc, 0U);

  const Saved saved = save(*tpm);
  tpm.reset();
  tpm = must_start(resume(saved));
  EXPECT_EQ(run(*tpm, 0x173, {object}, 0).body, before.body);
  EXPECT_EQ(run(*tpm, 0x189, {session.handle}, 0).rc, 0U);  // PolicyGetDigest
  // SequenceComplete gives what Hash gives for the whole.
  const Reply complete = run(*tpm, 0x13e, {hash}, 1, Parameters().sized(part).u32(kNull).bytes);
  ASSERT_EQ(complete.rc, 0U);
  Bytes whole = part;
  whole.insert(whole.end(), part.begin(), part.end());
  const Reply at_once =
      run(*tpm, 0x17d, {}, 0, Parameters().sized(whole).u16(0x0b).u32(kNull).bytes);
  ASSERT_EQ(at_once.rc, 0U);
  Reader a(complete.body);
  a.u32();  // parameterSize
  Reader b(at_once.body);
  EXPECT_EQ(to_hex(a.sized16()), to_hex(b.sized16()));
}

TEST(Engine, PowerCycleResetsPcrsAndKeepsPermanentState) {
  auto tpm = must_start({.origin = Origin::fresh});
  ASSERT_TRUE(tpm->startup_clear());
  const Bytes clear = pcr_read(*tpm, 7);
  ASSERT_EQ(pcr_extend(*tpm, 7, 1), 0U);
  ASSERT_NE(pcr_read(*tpm, 7), clear);
  const auto name = [&] {
    const Reply reply = create_primary(*tpm, kOwner);
    EXPECT_EQ(reply.rc, 0U);
    return Bytes{reply.body.end() - 34, reply.body.end()};
  };
  const Bytes key = name();
  ASSERT_TRUE(tpm->shutdown_clear());
  ASSERT_TRUE(tpm->power_cycle());
  EXPECT_EQ(run(*tpm, 0x17b, {}, 0, Parameters().u16(8).bytes).rc, 0x100U);  // off until Startup
  ASSERT_TRUE(tpm->startup_clear());
  ASSERT_TRUE(tpm->startup_clear());  // twice is fine
  EXPECT_EQ(pcr_read(*tpm, 7), clear);
  EXPECT_EQ(name(), key);
}

TEST(Engine, RestoreWithoutVolatileStateIsAPowerCut) {
  auto tpm = must_start({.origin = Origin::fresh});
  ASSERT_EQ(startup(*tpm), 0U);
  ASSERT_EQ(pcr_extend(*tpm, 7, 1), 0U);
  const Bytes extended = pcr_read(*tpm, 7);
  const SecretBytes permanent = tpm->permanent().value();
  tpm.reset();
  tpm = must_start({.origin = Origin::restore, .permanent = permanent});
  EXPECT_EQ(startup(*tpm, true), 0x1c4U);  // Startup(STATE): there is no saved state
  EXPECT_EQ(startup(*tpm), 0U);
  EXPECT_NE(pcr_read(*tpm, 7), extended);
}

TEST(Engine, ShutdownStateIsFollowedByStartupState) {
  auto tpm = must_start({});
  ASSERT_EQ(startup(*tpm), 0U);
  ASSERT_EQ(pcr_extend(*tpm, 7, 1), 0U);
  const Bytes extended = pcr_read(*tpm, 7);
  ASSERT_EQ(shutdown(*tpm, true), 0U);
  EXPECT_TRUE(parse_permanent(tpm->permanent().value()));
  ASSERT_TRUE(tpm->power_cycle());
  EXPECT_EQ(startup(*tpm, true), 0U);
  EXPECT_EQ(pcr_read(*tpm, 7), extended);
}

TEST(Engine, RestoresAStateFromBeforeStartup) {
  auto tpm = must_start({});
  const Saved saved = save(*tpm);
  tpm.reset();
  tpm = must_start(resume(saved));
  EXPECT_EQ(startup(*tpm), 0U);
  EXPECT_EQ(get_random(*tpm).size(), 32U);
}

TEST(Engine, HonoursLocality) {
  auto tpm = must_start({});
  ASSERT_EQ(startup(*tpm), 0U);
  EXPECT_EQ(pcr_extend(*tpm, 17, 1, 0), 0x907U);
  EXPECT_EQ(pcr_extend(*tpm, 17, 1, 2), 0U);
  EXPECT_EQ(pcr_extend(*tpm, 17, 1, 0), 0x907U);
  EXPECT_FALSE(tpm->process(command(0x17b, {}, 0, Parameters().u16(1).bytes), 5));
}

TEST(Engine, AnswersMalformedFrames) {
  auto tpm = must_start({});
  ASSERT_EQ(startup(*tpm), 0U);
  const Bytes good = command(0x17b, {}, 0, Parameters().u16(8).bytes);
  for (std::size_t size = 0; size < good.size(); size++) {
    const auto reply = tpm->process(ByteView(good).first(size), 0);
    if (!reply) continue;
    ASSERT_GE(reply->size(), 10U) << size;
    EXPECT_NE(load_be32(reply->data() + 6), 0U) << size;
  }
  for (const std::size_t size : {4096U, 4097U, 70000U}) {
    Bytes huge(size, std::byte{0x80});
    store_be32(huge.data() + 2, static_cast<std::uint32_t>(size));
    (void)tpm->process(huge, 0);
  }
  EXPECT_EQ(get_random(*tpm).size(), 32U);
}

TEST(Engine, ResubmitsTheFirstUseUnderDictionaryAttackProtection) {
  auto tpm = must_start({.origin = Origin::fresh});
  ASSERT_EQ(startup(*tpm), 0U);
  // NV_DefineSpace with an authorization and without noDA, then NV_Write by it: libtpms answers
  // the first such use of a boot with TPM_RC_RETRY.
  const Bytes password(4, std::byte{'p'});
  Parameters pub;
  pub.u32(0x01500001).u16(0x0b).u32(0x00040004).u16(0).u16(8);
  ASSERT_EQ(run(*tpm, 0x12a, {kOwner}, 1, Parameters().sized(password).sized(pub.bytes).bytes).rc,
            0U);
  const Bytes data(8, std::byte{9});
  const Bytes write =
      command(0x137, {0x01500001, 0x01500001}, 1, Parameters().sized(data).u16(0).bytes, password);
  EXPECT_EQ(run(*tpm, write).rc, 0U);
  const Bytes wrong(4, std::byte{'q'});
  EXPECT_EQ(run(*tpm, command(0x137, {0x01500001, 0x01500001}, 1,
                              Parameters().sized(data).u16(0).bytes, wrong))
                .rc,
            0x98eU);
}

TEST(Engine, EstablishedBit) {
  auto tpm = must_start({});
  ASSERT_EQ(startup(*tpm), 0U);
  EXPECT_FALSE(tpm->established().value());
  const auto refused = tpm->reset_established(0);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::permission);
  EXPECT_TRUE(tpm->reset_established(3));
}

// The commands that the design relies on: what is in the first list must go to the store, what is
// in the second must not cost a write.
TEST(Engine, MarksExactlyThePermanentChanges) {
  auto tpm = must_start({.origin = Origin::fresh});
  EXPECT_TRUE(tpm->take_permanent_changed()) << "manufacture";
  EXPECT_FALSE(tpm->take_permanent_changed()) << "taken";
  const auto changes = [&](const char* what, std::uint32_t rc, bool expected) {
    EXPECT_EQ(rc, 0U) << what;
    EXPECT_EQ(tpm->take_permanent_changed(), expected) << what;
  };
  changes("Startup", startup(*tpm), true);
  changes("PCR_Extend", pcr_extend(*tpm, 7, 1), false);
  changes("GetRandom", run(*tpm, 0x17b, {}, 0, Parameters().u16(8).bytes).rc, false);
  const Reply key = create_primary(*tpm, kOwner);
  changes("CreatePrimary", key.rc, false);
  changes("StartAuthSession", start_session(*tpm).rc, false);
  const std::uint32_t object = load_be32(key.body.data());
  changes("EvictControl",
          run(*tpm, 0x120, {kOwner, object}, 1, Parameters().u32(0x81000001).bytes).rc, true);
  changes("FlushContext", run(*tpm, 0x165, {}, 0, Parameters().u32(object).bytes).rc, false);
  Parameters pub;  // ownerwrite, ownerread, authwrite, authread, noDA
  pub.u32(0x01500002).u16(0x0b).u32(0x02060006).u16(0).u16(4);
  changes("NV_DefineSpace",
          run(*tpm, 0x12a, {kOwner}, 1, Parameters().u16(0).sized(pub.bytes).bytes).rc, true);
  const Bytes data(4, std::byte{9});
  const Bytes write =
      command(0x137, {kOwner, 0x01500002}, 1, Parameters().sized(data).u16(0).bytes);
  changes("NV_Write", run(*tpm, write).rc, true);
  changes("NV_Write of the same", run(*tpm, write).rc, false);
  changes("NV_Read", run(*tpm, 0x14e, {kOwner, 0x01500002}, 1, Parameters().u16(4).u16(0).bytes).rc,
          false);
  const Bytes password(4, std::byte{'p'});
  changes("HierarchyChangeAuth(platform)",
          run(*tpm, 0x129, {kPlatform}, 1, Parameters().sized(password).bytes).rc, false);
  changes("HierarchyChangeAuth(endorsement)",
          run(*tpm, 0x129, {kEndorsement}, 1, Parameters().sized(password).bytes).rc, true);
  changes("Shutdown", shutdown(*tpm, false), true);
  changes("the first PCR_Extend after it", pcr_extend(*tpm, 7, 1), true);
  changes("the second", pcr_extend(*tpm, 7, 1), false);
}

TEST(Engine, NamesItsLibrary) {
  EXPECT_THAT(std::string(libtpms_version()), ::testing::StartsWith("0."));
  EXPECT_GE(max_permanent_size(), std::size_t{64} * 1024);
  EXPECT_LE(max_permanent_size(), kMaxPermanentState);
}

}  // namespace
}  // namespace vtpm::engine
