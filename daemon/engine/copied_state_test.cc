// SPDX-License-Identifier: Apache-2.0
#include "engine/copied_state.h"

#include <gtest/gtest.h>

#include "engine/state_blob.h"
#include "engine/test_commands.h"

namespace vtpm::engine {
namespace {

using namespace testing;

class CopiedState : public ::testing::Test {
 protected:
  // Of a TPM whose owner has the authorization "secret".
  CopiedState() {
    auto tpm = must_start({Origin::fresh});
    EXPECT_EQ(startup(*tpm), 0U);
    EXPECT_EQ(run(*tpm, 0x129, {kOwner}, 1, Parameters().sized(as_bytes("secret")).bytes).rc, 0U);
    EXPECT_EQ(shutdown(*tpm, false), 0U);
    state_ = *tpm->permanent();
  }
  static std::uint32_t change_owner_auth(Engine& tpm, std::string_view password) {
    return run(tpm, command(0x129, {kOwner}, 1, Parameters().sized(as_bytes("x")).bytes,
                            as_bytes(password)))
        .rc;
  }
  static Bytes field(ByteView blob, const Field& f) {
    return to_bytes(blob.subspan(f.offset, f.size));
  }
  // A copy that goes on running with that part of its source.
  [[nodiscard]] std::unique_ptr<Engine> copy_with(ByteView part) const {
    auto started = must_start({Origin::restore, state_});
    EXPECT_EQ(startup(*started), 0U);
    const SecretBytes permanent = *started->permanent();
    const SecretBytes running = *put_running_part(*started->volatile_state(), part);
    started.reset();
    return must_start(
        {.origin = Origin::restore, .permanent = permanent, .volatile_state = running});
  }
  SecretBytes state_;
};

TEST_F(CopiedState, IsOpenForTheOwnerAndClosedAgain) {
  const auto opened = open_copy(state_);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(as_text(opened->owner_auth), "secret");
  {
    auto tpm = must_start({Origin::restore, opened->permanent});
    ASSERT_EQ(startup(*tpm), 0U);
    EXPECT_EQ(change_owner_auth(*tpm, ""), 0U);
  }
  const auto closed = close_copy(opened->permanent, opened->owner_auth);
  ASSERT_TRUE(closed) << closed.error().message;
  EXPECT_EQ(closed->size(), state_.size());
  auto tpm = must_start({Origin::restore, *closed});
  ASSERT_EQ(startup(*tpm), 0U);
  EXPECT_NE(change_owner_auth(*tpm, ""), 0U);
  EXPECT_EQ(change_owner_auth(*tpm, "secret"), 0U);
}

TEST_F(CopiedState, DiffersInGeneratorAndClockAlone) {
  const auto opened = open_copy(state_);
  ASSERT_TRUE(opened);
  const auto closed = close_copy(opened->permanent, opened->owner_auth);
  ASSERT_TRUE(closed);
  const PermanentLayout p = *parse_permanent(state_);
  EXPECT_EQ((*closed)[p.clock + 8], std::byte{0}) << "clockSafe";
  SecretBytes same = *closed;
  same[p.clock + 8] = state_[p.clock + 8];
  EXPECT_NE(field(same, p.drbg_seed), field(state_, p.drbg_seed));
  std::copy_n(state_.begin() + static_cast<std::ptrdiff_t>(p.drbg_seed.offset), p.drbg_seed.size,
              same.begin() + static_cast<std::ptrdiff_t>(p.drbg_seed.offset));
  EXPECT_EQ(same, state_);
}

// The clock says that it may have been set back, until it has passed what was kept of it.
TEST_F(CopiedState, ItsClockIsNotSafe) {
  const auto opened = open_copy(state_);
  const auto closed = close_copy(opened->permanent, opened->owner_auth);
  for (const ByteView blob : {ByteView(state_), ByteView(*closed)}) {
    auto tpm = must_start({Origin::restore, blob});
    ASSERT_EQ(startup(*tpm), 0U);
    const Reply clock = run(*tpm, 0x181, {}, 0);  // time, clock, resets, restarts, safe
    ASSERT_EQ(clock.body.size(), 25U);
    EXPECT_EQ(clock.body.back(), std::byte{blob.data() == state_.data()});
  }
}

TEST_F(CopiedState, AFreshStorageHierarchyMakesOtherKeys) {
  SecretBytes other = open_copy(state_)->permanent;
  const PermanentLayout p = *parse_permanent(other);
  const Bytes seed = field(other, p.storage_seed);
  const Bytes proof = field(other, p.storage_proof);
  const Bytes endorsement = field(other, p.endorsement_seed);
  ASSERT_TRUE(renew_storage(other));
  EXPECT_NE(field(other, p.storage_seed), seed);
  EXPECT_NE(field(other, p.storage_proof), proof);
  EXPECT_EQ(field(other, p.endorsement_seed), endorsement);
  auto tpm = must_start({Origin::restore, other});
  ASSERT_EQ(startup(*tpm), 0U);
  EXPECT_EQ(create_primary(*tpm, kOwner).rc, 0U);
}

// A wrong guess at the authorization of a key counts, and one at lockout's bars that.
TEST_F(CopiedState, KeepsTheGuessesOfItsPredecessor) {
  const PermanentLayout p = *parse_permanent(state_);
  const auto with = [&](std::uint32_t failed, bool enabled) {
    SecretBytes blob = state_;
    store_be32(blob.data() + p.failed_tries, failed);
    blob[p.lockout_enabled] = std::byte{enabled};
    return blob;
  };
  for (const auto& [before, now, wanted] :
       std::vector<std::array<std::uint32_t, 3>>{{5, 2, 5}, {2, 5, 5}, {0, 0, 0}})
    for (const bool barred : {false, true}) {
      SecretBytes kept = with(now, true);
      ASSERT_TRUE(keep_guesses(kept, with(before, !barred)));
      EXPECT_EQ(kept, with(wanted, !barred));
    }
  SecretBytes barred = with(0, false);
  ASSERT_TRUE(keep_guesses(barred, state_));
  EXPECT_EQ(barred, with(0, false));
  // A real one, and of it no more than comes first.
  auto tpm = must_start({Origin::restore, state_});
  ASSERT_EQ(startup(*tpm), 0U);
  const Bytes wrong = command(0x139, {kLockout}, 1, {}, as_bytes("wrong"));
  EXPECT_NE(run(*tpm, wrong).rc, 0U);
  ASSERT_EQ(shutdown(*tpm, false), 0U);
  const SecretBytes guessed = *tpm->permanent();
  SecretBytes kept = state_;
  ASSERT_TRUE(
      keep_guesses(kept, ByteView(guessed).first(std::min<std::size_t>(guessed.size(), 8 * 1024))));
  EXPECT_EQ(kept[p.lockout_enabled], std::byte{0});
}

// The longest that can be before what is kept: each authorization and policy of 64 bytes, all PCR
// banks.
TEST_F(CopiedState, WhatIsNeededOfAPredecessorComesEarly) {
  const PermanentLayout p = *parse_permanent(state_);
  constexpr std::size_t kLongest = 8 * 1024, kGrowth = 8 * 64 + 512;
  EXPECT_LT(p.lockout_enabled + kGrowth, kLongest);
  SecretBytes kept = state_;
  EXPECT_TRUE(keep_guesses(kept, ByteView(state_).first(p.lockout_enabled + 1)));
  EXPECT_FALSE(keep_guesses(kept, ByteView(state_).first(p.lockout_enabled)));
  EXPECT_FALSE(keep_guesses(kept, {}));
}

// A copy that goes on running has the PCRs of its source, and nothing else that was loaded there.
TEST_F(CopiedState, TakesThePcrsOfARunningTpmAlong) {
  SecretBytes part;
  Bytes measured;
  {
    auto source = must_start({Origin::restore, state_});
    EXPECT_TRUE(take_running_part(*source->volatile_state()).value().empty()) << "not started yet";
    ASSERT_EQ(startup(*source), 0U);
    ASSERT_EQ(pcr_extend(*source, 10, 0x42), 0U);
    ASSERT_EQ(start_session(*source).rc, 0U);
    ASSERT_EQ(create_primary(*source, kEndorsement).rc, 0U);
    measured = pcr_read(*source, 10);
    part = *take_running_part(*source->volatile_state());
    ASSERT_FALSE(part.empty());
  }
  const auto tpm = copy_with(part);
  EXPECT_EQ(pcr_read(*tpm, 10), measured);
  EXPECT_EQ(pcr_read(*tpm, 11), Bytes(32)) << "never extended";
  for (const std::uint32_t loaded : {0x02000000U, 0x80000000U}) {
    const Reply list = run(*tpm, 0x17a, {}, 0, Parameters().u32(1).u32(loaded).u32(8).bytes);
    ASSERT_EQ(list.rc, 0U);
    EXPECT_EQ(load_be32(list.body.data() + 5), 0U) << std::hex << loaded;
  }
  EXPECT_NE(startup(*tpm), 0U) << "it was started before";
}

// Whoever made it impossible for clients, by an authorization or by switching it off.
TEST_F(CopiedState, AClosedPlatformHierarchyStaysClosed) {
  enum class Platform : std::uint8_t { open, authorization, disabled };
  for (const auto platform : {Platform::open, Platform::authorization, Platform::disabled}) {
    SecretBytes part;
    {
      auto source = must_start({Origin::restore, state_});
      ASSERT_EQ(startup(*source), 0U);
      if (platform == Platform::authorization) {
        ASSERT_EQ(run(*source, 0x129, {kPlatform}, 1, Parameters().sized(as_bytes("p")).bytes).rc,
                  0U);
      } else if (platform == Platform::disabled) {
        ASSERT_EQ(run(*source, 0x121, {kPlatform}, 1, Parameters().u32(kPlatform).u8(0).bytes).rc,
                  0U);
      }
      part = *take_running_part(*source->volatile_state());
    }
    const auto tpm = copy_with(part);
    EXPECT_EQ(create_primary(*tpm, kPlatform).rc == 0, platform == Platform::open);
    EXPECT_EQ(create_primary(*tpm, kEndorsement).rc, 0U);
  }
}

TEST_F(CopiedState, PcrsThatAreNoneAreRefused) {
  auto tpm = must_start({Origin::restore, state_});
  const SecretBytes waiting = *tpm->volatile_state();
  ASSERT_EQ(startup(*tpm), 0U);
  const SecretBytes started = *tpm->volatile_state();
  const SecretBytes part = *take_running_part(started);
  EXPECT_TRUE(put_running_part(started, part));
  EXPECT_FALSE(put_running_part(waiting, part));
  EXPECT_FALSE(put_running_part(started, {}));
  EXPECT_FALSE(put_running_part(started, ByteView(part).first(part.size() - 1)));
  EXPECT_FALSE(put_running_part(ByteView(started).first(60), part));
  EXPECT_FALSE(take_running_part(ByteView(started).first(60)));
}

// A TPM that lost its power counts one; a copy has lost none.
TEST_F(CopiedState, OfATpmThatRunsNoGuessIsCountedThatNobodyMade) {
  constexpr std::uint32_t index = 0x01500001, auth_read_and_write = 0x00040004;
  SecretBytes running;
  {
    auto tpm = must_start({Origin::restore, open_copy(state_)->permanent});
    ASSERT_EQ(startup(*tpm), 0U);
    Parameters area;
    area.u32(index).u16(0x0b).u32(auth_read_and_write).u16(0).u16(8);
    const Bytes secret(4, std::byte{7});
    ASSERT_EQ(run(*tpm, 0x12a, {kOwner}, 1, Parameters().sized(secret).sized(area.bytes).bytes).rc,
              0U);
    ASSERT_NE(run(*tpm, 0x14e, {index, index}, 1, Parameters().u16(8).u16(0).bytes).rc, 0U);
    running = *tpm->permanent();
  }
  const auto counted = [](ByteView state) {
    auto tpm = must_start({Origin::restore, state});
    EXPECT_EQ(startup(*tpm), 0U);
    const SecretBytes now = *tpm->permanent();
    return load_be32(now.data() + parse_permanent(now)->failed_tries);
  };
  ASSERT_EQ(load_be32(running.data() + parse_permanent(running)->failed_tries), 1U);
  EXPECT_EQ(counted(running), 2U);
  EXPECT_EQ(counted(open_copy(running)->permanent), 1U);
}

TEST_F(CopiedState, WhatIsNoIdentityIsRefused) {
  EXPECT_EQ(open_copy(*make_blank(state_)).error().code, ErrorCode::corrupt);
  EXPECT_FALSE(open_copy({}));
  EXPECT_FALSE(open_copy(ByteView(state_).first(200)));
  EXPECT_FALSE(close_copy({}, {}));
  SecretBytes short_one(10);
  EXPECT_FALSE(renew_storage(short_one));
}

}  // namespace
}  // namespace vtpm::engine
