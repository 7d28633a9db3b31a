// SPDX-License-Identifier: Apache-2.0
#include "engine/transplant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/state_blob.h"
#include "engine/test_commands.h"

namespace vtpm::engine {
namespace {

using namespace testing;

constexpr std::uint32_t kIndex = 0x01c00002;

Bytes nv_public() {
  Parameters area;
  area.u32(kIndex).u16(0x0b).u32(0x00040004 | 0x2).u16(0).u16(8);
  return Parameters().u16(0).sized(area.bytes).bytes;
}
Bytes ask_property(std::uint32_t property) {
  return Parameters().u32(6).u32(property).u32(1).bytes;  // TPM_CAP_TPM_PROPERTIES
}
std::uint32_t property(Engine& tpm, std::uint32_t which) {
  const Reply reply = run(tpm, 0x17a, {}, 0, ask_property(which));
  EXPECT_EQ(reply.rc, 0U);
  return reply.body.size() < 4 ? 0xffffffff : load_be32(reply.body.data() + reply.body.size() - 4);
}
struct Clock {
  std::uint64_t clock = 0;
  std::uint32_t resets = 0, restarts = 0;
};
Clock clock_of(Engine& tpm) {
  const Reply reply = run(tpm, 0x181, {}, 0);
  Reader in(reply.body);
  in.u64();  // time
  Clock c;
  c.clock = in.u64();
  c.resets = in.u32();
  c.restarts = in.u32();
  return c;
}
// TPM2B_PUBLIC and what follows tell keys apart; the handle is the same each time.
Bytes primary(Engine& tpm, std::uint32_t hierarchy) {
  const Reply reply = create_primary(tpm, hierarchy);
  EXPECT_EQ(reply.rc, 0U);
  if (reply.rc != 0) return {};
  Reader in(reply.body);
  const std::uint32_t handle = in.u32();
  in.u32();  // parameterSize
  const Bytes area = to_bytes(in.sized16());
  EXPECT_EQ(run(tpm, 0x165, {}, 0, Parameters().u32(handle).bytes).rc, 0U);
  return area;
}

class Transplant : public ::testing::Test {
 protected:
  // A manufactured state in which something was made, as identities are.
  Transplant() {
    auto bench = must_start({.origin = Origin::fresh});
    EXPECT_EQ(startup(*bench), 0U);
    EXPECT_EQ(run(*bench, 0x12a, {kOwner}, 1, nv_public()).rc, 0U);
    for (const auto hierarchy : {kEndorsement, kOwner, kPlatform})
      keys_.push_back(primary(*bench, hierarchy));
    EXPECT_EQ(shutdown(*bench, false), 0U);
    manufactured_ = bench->permanent().value();
  }
  static std::unique_ptr<Engine> blank() {
    auto tpm = must_start({});
    EXPECT_EQ(startup(*tpm), 0U);
    return tpm;
  }
  SecretBytes manufactured_;
  std::vector<Bytes> keys_;  // endorsement, owner, platform
};

TEST_F(Transplant, GivesTheManufacturedIdentity) {
  auto tpm = blank();
  const Bytes public_knowledge = primary(*tpm, kEndorsement);
  ASSERT_TRUE(tpm->take_identity(manufactured_, Platform::as_it_is));
  EXPECT_FALSE(is_blank(tpm->permanent().value()).value());
  EXPECT_EQ(primary(*tpm, kEndorsement), keys_[0]);
  EXPECT_EQ(primary(*tpm, kOwner), keys_[1]);
  EXPECT_EQ(primary(*tpm, kPlatform), keys_[2]);
  EXPECT_NE(primary(*tpm, kEndorsement), public_knowledge);
  EXPECT_EQ(run(*tpm, 0x169, {kIndex}, 0).rc, 0U);  // what was made on the bench is there
}

TEST_F(Transplant, KeepsWhatTheBootHasMeasured) {
  auto tpm = blank();
  ASSERT_EQ(pcr_extend(*tpm, 7, 3), 0U);
  const Bytes pcr = pcr_read(*tpm, 7);
  const Clock before = clock_of(*tpm);
  ASSERT_TRUE(tpm->take_identity(manufactured_, Platform::as_it_is));
  EXPECT_EQ(startup(*tpm), 0x100U);  // it is on
  EXPECT_EQ(pcr_read(*tpm, 7), pcr);
  const Clock after = clock_of(*tpm);
  EXPECT_EQ(after.resets, before.resets);
  EXPECT_EQ(after.restarts, before.restarts);
  EXPECT_GE(after.clock, before.clock);
  EXPECT_LT(after.clock, before.clock + 10'000);
}

TEST_F(Transplant, KeepsSessionsSequencesAndTheNullHierarchy) {
  auto tpm = blank();
  const Bytes null_key = primary(*tpm, kNull);
  const Session policy = start_session(*tpm, 1);
  const Session away = start_session(*tpm, 1);
  const Reply saved = run(*tpm, 0x162, {away.handle}, 0);
  ASSERT_EQ(saved.rc, 0U);
  const Reply sequence = run(*tpm, 0x186, {}, 0, Parameters().u16(0).u16(0x0b).bytes);
  ASSERT_EQ(sequence.rc, 0U);
  const std::uint32_t hash = load_be32(sequence.body.data());
  ASSERT_EQ(run(*tpm, 0x16b, {policy.handle}, 0).rc, 0U);  // PolicyAuthValue
  const Reply digest = run(*tpm, 0x189, {policy.handle}, 0);

  ASSERT_TRUE(tpm->take_identity(manufactured_, Platform::as_it_is));
  const Reply digest_after = run(*tpm, 0x189, {policy.handle}, 0);
  EXPECT_EQ(digest_after.rc, 0U);
  EXPECT_EQ(digest_after.body, digest.body);
  EXPECT_EQ(run(*tpm, 0x161, {}, 0, saved.body).rc, 0U);  // ContextLoad
  const Reply done =
      run(*tpm, 0x13e, {hash}, 1, Parameters().sized(Bytes(3, std::byte{1})).u32(kNull).bytes);
  EXPECT_EQ(done.rc, 0U);
  EXPECT_EQ(primary(*tpm, kNull), null_key);
}

TEST_F(Transplant, LeavesBehindWhatAClientDidToTheBlankState) {
  auto tpm = blank();
  EXPECT_EQ(run(*tpm, 0x121, {kOwner}, 1, Parameters().u32(kOwner).u8(0).bytes).rc, 0U);
  EXPECT_EQ(run(*tpm, 0x121, {kEndorsement}, 1, Parameters().u32(kEndorsement).u8(0).bytes).rc, 0U);
  EXPECT_NE(create_primary(*tpm, kOwner).rc, 0U);
  const Bytes wrong(4, std::byte{9});
  EXPECT_NE(run(*tpm, command(0x139, {kLockout}, 1, {}, wrong)).rc, 0U);  // DA lock reset
  ASSERT_TRUE(tpm->take_identity(manufactured_, Platform::as_it_is));
  EXPECT_EQ(primary(*tpm, kOwner), keys_[1]);
  EXPECT_EQ(primary(*tpm, kEndorsement), keys_[0]);
  EXPECT_EQ(property(*tpm, 0x20e), 0U);               // TPM_PT_LOCKOUT_COUNTER
  EXPECT_EQ(run(*tpm, 0x139, {kLockout}, 1).rc, 0U);  // the lockout authorization works
}

// An authorization of the platform, and the platform off, as a client can have it in read-only
// mode.
TEST_F(Transplant, AnOpenPlatformIsOpenAgainAndAClosedOneStaysClosed) {
  const Bytes auth(20, std::byte{7});
  const Bytes off = Parameters().u32(kPlatform).u8(0).bytes;
  enum class Then : std::uint8_t { runs, is_off, sleeps };
  for (const auto platform : {Platform::opened, Platform::as_it_is})
    for (const auto then : {Then::runs, Then::is_off, Then::sleeps}) {
      auto tpm = blank();
      ASSERT_EQ(pcr_extend(*tpm, 7, 3), 0U);
      const Bytes pcr = pcr_read(*tpm, 7);
      EXPECT_EQ(run(*tpm, 0x129, {kPlatform}, 1, Parameters().sized(auth).bytes).rc, 0U);
      if (then == Then::is_off) {
        EXPECT_EQ(run(*tpm, command(0x121, {kPlatform}, 1, off, auth)).rc, 0U);
      }
      if (then == Then::sleeps) {
        ASSERT_EQ(shutdown(*tpm, true), 0U);
      }
      ASSERT_TRUE(tpm->take_identity(manufactured_, platform));
      if (then == Then::sleeps) {
        ASSERT_TRUE(tpm->power_cycle());
        ASSERT_EQ(startup(*tpm, true), 0U);
      }
      if (platform == Platform::opened) {
        EXPECT_EQ(primary(*tpm, kPlatform), keys_[2]);
      } else {
        EXPECT_NE(create_primary(*tpm, kPlatform).rc, 0U);
      }
      EXPECT_EQ(pcr_read(*tpm, 7), pcr);
      EXPECT_EQ(primary(*tpm, kEndorsement), keys_[0]);
    }
}

TEST_F(Transplant, RefusesContextsOfThePublicState) {
  auto tpm = blank();
  std::vector<Bytes> contexts;
  for (const auto hierarchy : {kEndorsement, kOwner, kPlatform}) {
    const Reply made = create_primary(*tpm, hierarchy);
    ASSERT_EQ(made.rc, 0U);
    const std::uint32_t handle = load_be32(made.body.data());
    const Reply saved = run(*tpm, 0x162, {handle}, 0);
    ASSERT_EQ(saved.rc, 0U);
    contexts.push_back(saved.body);
    ASSERT_EQ(run(*tpm, 0x165, {}, 0, Parameters().u32(handle).bytes).rc, 0U);
  }
  for (const Bytes& context : contexts) {
    const Reply loaded = run(*tpm, 0x161, {}, 0, context);
    ASSERT_EQ(loaded.rc, 0U) << "this would prove nothing";
    run(*tpm, 0x165, {}, 0, Parameters().u32(load_be32(loaded.body.data())).bytes);
  }
  ASSERT_TRUE(tpm->take_identity(manufactured_, Platform::as_it_is));
  for (const Bytes& context : contexts) EXPECT_NE(run(*tpm, 0x161, {}, 0, context).rc, 0U);
}

// TPM2_Shutdown(STATE), as a VM that goes to sleep sends it: before its power is cut, and after.
TEST_F(Transplant, WakesATpmThatSleeps) {
  for (const bool power_is_cut : {false, true}) {
    auto tpm = blank();
    ASSERT_EQ(pcr_extend(*tpm, 7, 3), 0U);
    const Bytes pcr = pcr_read(*tpm, 7);
    const Bytes null_key = primary(*tpm, kNull);
    const Session session = start_session(*tpm, 1);
    const Reply saved = run(*tpm, 0x162, {session.handle}, 0);
    ASSERT_EQ(saved.rc, 0U);
    ASSERT_EQ(run(*tpm, 0x121, {kOwner}, 1, Parameters().u32(kOwner).u8(0).bytes).rc, 0U);
    ASSERT_EQ(shutdown(*tpm, true), 0U);
    const Clock before = clock_of(*tpm);
    if (power_is_cut) {
      ASSERT_TRUE(tpm->power_cycle());
    }
    const auto taken = tpm->take_identity(manufactured_, Platform::as_it_is);
    ASSERT_TRUE(taken) << taken.error().message;
    if (!power_is_cut) {
      EXPECT_EQ(pcr_read(*tpm, 7), pcr);
      ASSERT_TRUE(tpm->power_cycle());
    }
    ASSERT_EQ(startup(*tpm, true), 0U);
    EXPECT_EQ(pcr_read(*tpm, 7), pcr);
    EXPECT_EQ(run(*tpm, 0x161, {}, 0, saved.body).rc, 0U);  // ContextLoad
    EXPECT_EQ(primary(*tpm, kNull), null_key);
    EXPECT_EQ(primary(*tpm, kEndorsement), keys_[0]);
    EXPECT_EQ(primary(*tpm, kOwner), keys_[1]);  // a resume leaves hierarchies as they were
    EXPECT_EQ(clock_of(*tpm).resets, before.resets);
    EXPECT_EQ(clock_of(*tpm).restarts, before.restarts + 1);
  }
}

TEST_F(Transplant, SurvivesResumeAndPowerCycle) {
  auto tpm = blank();
  ASSERT_EQ(pcr_extend(*tpm, 7, 3), 0U);
  const Bytes pcr = pcr_read(*tpm, 7);
  ASSERT_TRUE(tpm->take_identity(manufactured_, Platform::as_it_is));
  const SecretBytes permanent = tpm->permanent().value();
  const SecretBytes running = tpm->volatile_state().value();
  tpm.reset();
  tpm = must_start({Origin::restore, permanent, running});
  EXPECT_EQ(pcr_read(*tpm, 7), pcr);
  EXPECT_EQ(primary(*tpm, kEndorsement), keys_[0]);
  tpm.reset();
  tpm = must_start({Origin::restore, permanent});
  ASSERT_EQ(startup(*tpm), 0U);
  EXPECT_NE(pcr_read(*tpm, 7), pcr);
  EXPECT_EQ(primary(*tpm, kEndorsement), keys_[0]);
}

TEST_F(Transplant, NeverRepeatsARandomNumber) {
  auto tpm = blank();
  const SecretBytes permanent = tpm->permanent().value();
  const SecretBytes running = tpm->volatile_state().value();
  std::vector<Bytes> seen{get_random(*tpm)};
  for (int i = 0; i < 2; i++) {
    const auto state = transplant(manufactured_, permanent, running, Platform::as_it_is);
    ASSERT_TRUE(state);
    tpm.reset();
    tpm = must_start({Origin::restore, state->permanent, state->volatile_state});
    seen.push_back(get_random(*tpm));
  }
  EXPECT_NE(seen[0], seen[1]);
  EXPECT_NE(seen[1], seen[2]);
}

TEST_F(Transplant, TakesNoOtherStates) {
  auto tpm = blank();
  const SecretBytes permanent = tpm->permanent().value();
  const SecretBytes running = tpm->volatile_state().value();
  EXPECT_FALSE(transplant(permanent, permanent, running, Platform::as_it_is))
      << "an identity of zeros";
  EXPECT_FALSE(transplant(manufactured_, manufactured_, running, Platform::as_it_is))
      << "a TPM that has one";
  EXPECT_FALSE(transplant({}, permanent, running, Platform::as_it_is));
  SecretBytes damaged = running;
  damaged[100] ^= std::byte{1};
  EXPECT_FALSE(transplant(manufactured_, permanent, damaged, Platform::as_it_is));
  EXPECT_FALSE(tpm->take_identity({}, Platform::as_it_is));
  EXPECT_EQ(pcr_extend(*tpm, 7, 3), 0U);  // nothing was touched yet
}

}  // namespace
}  // namespace vtpm::engine
