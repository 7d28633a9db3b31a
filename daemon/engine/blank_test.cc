// SPDX-License-Identifier: Apache-2.0
// Devices without identity: what must be the same everywhere, and what must not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/uuid.h"
#include "engine/engine.h"
#include "engine/state_blob.h"
#include "engine/test_commands.h"

namespace vtpm::engine {
namespace {

using namespace testing;

ByteView field_of(ByteView blob, const Field& field) {
  return blob.subspan(field.offset, field.size);
}
bool all_zero(ByteView bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

std::vector<std::size_t> differences(ByteView a, ByteView b) {
  EXPECT_EQ(a.size(), b.size());
  std::vector<std::size_t> at;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); i++)
    if (a[i] != b[i]) at.push_back(i);
  return at;
}

TEST(Blank, TwoAreTheSameBeforeStartup) {
  const SecretBytes first = must_start({})->permanent().value();
  const SecretBytes second = must_start({})->permanent().value();
  EXPECT_EQ(to_hex(first), to_hex(second));
}

// The template is made from a random manufacture. Nothing random may be left in it.
TEST(Blank, TheTemplateDoesNotDependOnTheManufacture) {
  const auto blank_of_a_new_tpm = [] {
    return make_blank(must_start({.origin = Origin::fresh})->permanent().value()).value();
  };
  const SecretBytes first = blank_of_a_new_tpm();
  EXPECT_EQ(to_hex(first), to_hex(blank_of_a_new_tpm()));
  EXPECT_EQ(to_hex(first), to_hex(must_start({})->permanent().value()));
}

// After Startup the permanent blob holds the drbg's seed and counters, the clock and the timers
// that run with it (all of it ORDERLY_DATA), and a random epoch of the clock; nothing else tells
// two of them apart.
TEST(Blank, TwoDifferInRandomnessAndClockOnlyAfterStartup) {
  const auto started = [] {
    auto tpm = must_start({});
    EXPECT_EQ(startup(*tpm), 0U);
    EXPECT_EQ(pcr_extend(*tpm, 7, 1), 0U);
    EXPECT_EQ(shutdown(*tpm, false), 0U);
    return tpm->permanent().value();
  };
  const SecretBytes first = started();
  const SecretBytes second = started();
  const PermanentLayout p = parse_permanent(first).value();
  constexpr std::size_t kLastValue = 2 + 16;
  constexpr std::size_t kTimers = std::size_t{3} * (3 + 8);
  const std::size_t orderly_end = p.drbg_seed.offset + p.drbg_seed.size + kLastValue + kTimers;
  for (const std::size_t i : differences(first, second)) {
    const bool in_epoch = i >= p.time_epoch.offset && i < p.time_epoch.offset + p.time_epoch.size;
    const bool in_orderly = i >= p.clock && i < orderly_end;
    EXPECT_TRUE(in_epoch || in_orderly) << "offset " << i;
  }
  const auto drbg = [&p](ByteView blob) { return to_hex(field_of(blob, p.drbg_seed)); };
  EXPECT_NE(drbg(first), drbg(second));
}

TEST(Blank, SeedsStayZeroWhateverIsRun) {
  auto tpm = must_start({});
  ASSERT_EQ(startup(*tpm), 0U);
  for (unsigned pcr = 0; pcr < 16; pcr++) EXPECT_EQ(pcr_extend(*tpm, pcr, 1), 0U);
  for (int i = 0; i < 50; i++) get_random(*tpm);
  EXPECT_EQ(run(*tpm, 0x143, {}, 0, {std::byte{1}}).rc, 0U);
  EXPECT_EQ(run(*tpm, 0x129, {kPlatform}, 1, Parameters().sized(Bytes(8)).bytes).rc, 0U);
  EXPECT_EQ(start_session(*tpm).rc, 0U);
  EXPECT_EQ(start_session(*tpm, 1).rc, 0U);
  EXPECT_EQ(shutdown(*tpm, true), 0U);
  ASSERT_TRUE(tpm->power_cycle());
  EXPECT_EQ(startup(*tpm, true), 0U);
  ASSERT_TRUE(tpm->power_cycle());
  EXPECT_EQ(startup(*tpm), 0U);
  EXPECT_TRUE(is_blank(tpm->permanent().value()).value());
  const SecretBytes state = tpm->volatile_state().value();
  const VolatileLayout v = parse_volatile(state).value();
  EXPECT_TRUE(all_zero(field_of(state, {v.seed_copies + 2, 64})));
  EXPECT_TRUE(all_zero(field_of(state, {v.seed_copies + 68, 64})));
  EXPECT_TRUE(all_zero(field_of(state, {v.seed_copies + 134, 64})));
}

TEST(Blank, NullSecretsAreRandomAtEveryStartup) {
  std::set<std::string> seen;
  auto tpm = must_start({});
  for (int i = 0; i < 4; i++) {
    ASSERT_EQ(startup(*tpm), 0U);
    const SecretBytes state = tpm->volatile_state().value();
    const VolatileLayout v = parse_volatile(state).value();
    EXPECT_EQ(state[v.started], std::byte{1});
    for (const Field& field : {v.null_proof, v.null_seed}) {
      EXPECT_EQ(field.size, 64U);
      EXPECT_FALSE(all_zero(field_of(state, field)));
      EXPECT_TRUE(seen.insert(to_hex(field_of(state, field))).second);
    }
    ASSERT_TRUE(tpm->power_cycle());
  }
}

TEST(Blank, AZeroNullProofOrNullSeedIsNotRestored) {
  auto tpm = must_start({});
  ASSERT_EQ(startup(*tpm), 0U);
  const SecretBytes permanent = tpm->permanent().value();
  const SecretBytes good = tpm->volatile_state().value();
  tpm.reset();
  const VolatileLayout v = parse_volatile(good).value();
  for (const Field& field : {v.null_proof, v.null_seed}) {
    SecretBytes bad = good;
    std::fill_n(bad.begin() + static_cast<std::ptrdiff_t>(field.offset), field.size, std::byte{0});
    ASSERT_TRUE(rehash_volatile(bad));
    EXPECT_FALSE(Engine::start({Origin::restore, permanent, bad}));
  }
  EXPECT_TRUE(Engine::start({Origin::restore, permanent, good}));
}

TEST(Blank, FreshDevicesDiffer) {
  std::set<std::string> seen;
  for (int i = 0; i < 3; i++) {
    const SecretBytes blob = must_start({.origin = Origin::fresh})->permanent().value();
    const PermanentLayout p = parse_permanent(blob).value();
    for (const Field& f : {p.endorsement_seed, p.storage_seed, p.platform_seed, p.platform_proof,
                           p.storage_proof, p.endorsement_proof}) {
      EXPECT_EQ(f.size, 64U);
      EXPECT_FALSE(all_zero(field_of(blob, f)));
      EXPECT_TRUE(seen.insert(to_hex(field_of(blob, f))).second);
    }
    EXPECT_EQ(to_hex(ByteView(blob).subspan(p.seed_compat, 3)), "010101");
  }
}

// A device that was blank gets seeds by patching both blobs, and goes on.
TEST(Blank, SeedsPatchedIntoBothBlobsAreTakenOver) {
  auto tpm = must_start({});
  ASSERT_EQ(startup(*tpm), 0U);
  ASSERT_EQ(pcr_extend(*tpm, 7, 1), 0U);
  const Bytes pcr = pcr_read(*tpm, 7);
  SecretBytes permanent = tpm->permanent().value();
  SecretBytes state = tpm->volatile_state().value();
  tpm.reset();
  const PermanentLayout p = parse_permanent(permanent).value();
  const VolatileLayout v = parse_volatile(state).value();
  std::size_t copy = v.seed_copies;
  for (const Field& field : {p.endorsement_seed, p.storage_seed, p.platform_seed}) {
    Bytes seed(64);
    ASSERT_TRUE(fill_random(seed));
    std::ranges::copy(seed, permanent.begin() + static_cast<std::ptrdiff_t>(field.offset));
    std::ranges::copy(seed, state.begin() + static_cast<std::ptrdiff_t>(copy + 2));
    copy += 66;
  }
  EXPECT_FALSE(Engine::start({Origin::restore, permanent, state})) << "the hash is stale";
  ASSERT_TRUE(rehash_volatile(state));
  tpm = must_start({Origin::restore, permanent, state});
  EXPECT_EQ(pcr_read(*tpm, 7), pcr);
  EXPECT_FALSE(is_blank(tpm->permanent().value()).value());
}

}  // namespace
}  // namespace vtpm::engine
