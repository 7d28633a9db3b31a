// SPDX-License-Identifier: Apache-2.0
#include "worker/rebase.h"

#include <gtest/gtest.h>

#include "engine/copied_state.h"
#include "engine/state_blob.h"
#include "engine/test_commands.h"

namespace vtpm::worker {
namespace {

using namespace engine::testing;
using engine::Engine;
using engine::Origin;

constexpr std::uint32_t kOfOwner = 0x81000010, kOfEndorsement = 0x81000020,
                        kOfPlatform = 0x81800001;
constexpr std::uint32_t kCertificate = 0x01c0000a, kAttestation = 0x01c90100,
                        kOfThePlatform = 0x01400001, kOfTheOwner = 0x01c00030, kData = 0x01500001;

class RebaseTest : public ::testing::Test {
 protected:
  // A TPM with a key of each hierarchy and NV indices of all sorts.
  RebaseTest() {
    auto tpm = must_start({Origin::fresh});
    EXPECT_EQ(startup(*tpm), 0U);
    keep(*tpm, kOwner, kOwner, kOfOwner);
    keep(*tpm, kEndorsement, kOwner, kOfEndorsement);
    keep(*tpm, kPlatform, kPlatform, kOfPlatform);
    for (const std::uint32_t index : {kCertificate, kAttestation, kOfThePlatform})
      define(*tpm, kPlatform, index, 0x42072001);
    for (const std::uint32_t index : {kOfTheOwner, kData}) define(*tpm, kOwner, index, 0x00020002);
    EXPECT_EQ(run(*tpm, 0x129, {kOwner}, 1, Parameters().sized(as_bytes("secret")).bytes).rc, 0U);
    EXPECT_EQ(run(*tpm, 0x129, {kEndorsement}, 1, Parameters().sized(as_bytes("e")).bytes).rc, 0U);
    EXPECT_EQ(shutdown(*tpm, false), 0U);
    source_ = *tpm->permanent();
  }
  static void keep(Engine& tpm, std::uint32_t hierarchy, std::uint32_t by, std::uint32_t where) {
    const Reply made = create_primary(tpm, hierarchy);
    ASSERT_EQ(made.rc, 0U);
    const std::uint32_t handle = load_be32(made.body.data());
    ASSERT_EQ(run(tpm, 0x120, {by, handle}, 1, Parameters().u32(where).bytes).rc, 0U);
    ASSERT_EQ(run(tpm, 0x165, {}, 0, Parameters().u32(handle).bytes).rc, 0U);
  }
  static void define(Engine& tpm, std::uint32_t by, std::uint32_t index, std::uint32_t attributes) {
    Parameters area;
    area.u32(index).u16(0x0b).u32(attributes).u16(0).u16(8);
    ASSERT_EQ(run(tpm, 0x12a, {by}, 1, Parameters().u16(0).sized(area.bytes).bytes).rc, 0U);
  }
  static bool has_index(Engine& tpm, std::uint32_t index) {
    return run(tpm, 0x169, {index}, 0).rc == 0;
  }
  static std::uint32_t resets(Engine& tpm) {
    return load_be32(run(tpm, 0x181, {}, 0).body.data() + 16);
  }
  static Bytes field(ByteView blob, const engine::Field& f) {
    return to_bytes(blob.subspan(f.offset, f.size));
  }
  SecretBytes source_;
  const SecretBytes seed_ = SecretBytes(64, std::byte{0x99});
};

TEST_F(RebaseTest, TakesTheIdentityAndLeavesTheOwners) {
  auto rebased = rebase(source_, seed_, false);
  ASSERT_TRUE(rebased) << rebased.error().message;
  Engine& tpm = *rebased->tpm;
  EXPECT_TRUE(holds(tpm, kOfOwner));
  EXPECT_FALSE(holds(tpm, kOfEndorsement));
  EXPECT_FALSE(holds(tpm, kOfPlatform));
  EXPECT_FALSE(has_index(tpm, kCertificate));
  EXPECT_FALSE(has_index(tpm, kAttestation));
  for (const std::uint32_t index : {kOfThePlatform, kOfTheOwner, kData})
    EXPECT_TRUE(has_index(tpm, index)) << std::hex << index;
  EXPECT_EQ(create_primary(tpm, kEndorsement).rc, 0U) << "its authorization is gone";
  EXPECT_EQ(as_text(rebased->owner_auth), "secret");
  ASSERT_TRUE(tpm.shutdown_clear());
  const SecretBytes after = *engine::close_copy(*tpm.permanent(), rebased->owner_auth);
  const auto old = *engine::parse_permanent(source_);
  const auto now = *engine::parse_permanent(after);
  EXPECT_EQ(field(after, now.endorsement_seed), to_bytes(seed_));
  EXPECT_NE(field(after, now.endorsement_proof), field(source_, old.endorsement_proof));
  EXPECT_NE(field(after, now.platform_seed), field(source_, old.platform_seed));
  EXPECT_NE(field(after, now.platform_proof), field(source_, old.platform_proof));
  EXPECT_EQ(field(after, now.storage_seed), field(source_, old.storage_seed));
  EXPECT_EQ(field(after, now.storage_proof), field(source_, old.storage_proof));
  EXPECT_EQ(as_text(field(after, now.owner_auth)), "secret");
  EXPECT_GT(load_be32(after.data() + now.reset_count), load_be32(source_.data() + old.reset_count));
}

TEST_F(RebaseTest, OfFreshStorageOnlyTheAuthorizationsAndIndicesAreLeft) {
  auto rebased = rebase(source_, seed_, true);
  ASSERT_TRUE(rebased) << rebased.error().message;
  Engine& tpm = *rebased->tpm;
  EXPECT_FALSE(holds(tpm, kOfOwner));
  EXPECT_TRUE(has_index(tpm, kData));
  EXPECT_EQ(as_text(rebased->owner_auth), "secret");
  ASSERT_TRUE(tpm.shutdown_clear());
  const SecretBytes after = *tpm.permanent();
  const auto old = *engine::parse_permanent(source_);
  const auto now = *engine::parse_permanent(after);
  EXPECT_NE(field(after, now.storage_seed), field(source_, old.storage_seed));
  EXPECT_NE(field(after, now.storage_proof), field(source_, old.storage_proof));
}

// As a device leaves it that serves, and one whose guest sleeps.
TEST_F(RebaseTest, WhateverTheSourceWasDoing) {
  for (const bool asleep : {false, true}) {
    SecretBytes state;
    {
      auto tpm = must_start({Origin::restore, source_});
      ASSERT_EQ(startup(*tpm), 0U);
      ASSERT_EQ(run(*tpm, 0x121, {kPlatform}, 1, Parameters().u32(kOwner).u8(0).bytes).rc, 0U);
      ASSERT_EQ(run(*tpm, 0x121, {kPlatform}, 1, Parameters().u32(kPlatform).u8(0).bytes).rc, 0U);
      if (asleep) {
        ASSERT_EQ(shutdown(*tpm, true), 0U);
      }
      state = *tpm->permanent();
    }
    const auto rebased = rebase(state, seed_, false);
    ASSERT_TRUE(rebased) << rebased.error().message;
    EXPECT_TRUE(holds(*rebased->tpm, kOfOwner));
    EXPECT_EQ(create_primary(*rebased->tpm, kOwner).rc, 0U);
    EXPECT_EQ(create_primary(*rebased->tpm, kEndorsement).rc, 0U);
  }
}

TEST_F(RebaseTest, AStateWithoutAnIdentityIsRefused) {
  EXPECT_FALSE(rebase(source_, ByteView(seed_).first(63), false));
  EXPECT_FALSE(rebase(*engine::make_blank(source_), seed_, false));
  EXPECT_FALSE(rebase(ByteView(source_).first(100), seed_, false));
}

}  // namespace
}  // namespace vtpm::worker
