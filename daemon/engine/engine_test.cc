// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace vtpm::engine
