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
