// SPDX-License-Identifier: Apache-2.0
// A TPM that was parked and woken is the one that it was: its state differs in time fields and in
// the generator's seed, and nothing else follows from the resume.
#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <thread>

#include "engine/engine.h"
#include "engine/state_blob.h"
#include "engine/test_commands.h"

namespace vtpm::engine {
namespace {

using namespace testing;

using Offsets = std::set<std::size_t>;

Offsets differing(ByteView a, ByteView b) {
  Offsets out;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); i++)
    if (a[i] != b[i]) out.insert(i);
  return out;
}
void add(Offsets& offsets, std::size_t first, std::size_t size) {
  for (std::size_t i = 0; i < size; i++) offsets.insert(first + i);
}
SecretBytes state_of(Engine& tpm) { return tpm.volatile_state().value(); }
void pause() { std::this_thread::sleep_for(std::chrono::milliseconds(300)); }

class Resume : public ::testing::Test {
 protected:
  // PCRs, an object, a sequence, sessions of each kind, an orderly counter.
  Resume() : tpm_(must_start({.origin = Origin::fresh})) {
    EXPECT_EQ(startup(*tpm_), 0U);
    for (unsigned pcr = 0; pcr < 16; pcr++) EXPECT_EQ(pcr_extend(*tpm_, pcr, 3), 0U);
    object_ = load_be32(create_primary(*tpm_, kOwner).body.data());
    EXPECT_EQ(run(*tpm_, 0x186, {}, 0, Parameters().u16(0).u16(0x0b).bytes).rc, 0U);
    EXPECT_EQ(start_session(*tpm_).rc, 0U);
    EXPECT_EQ(start_session(*tpm_, 1).rc, 0U);
    Parameters pub;  // a counter, orderly, of the owner
    pub.u32(0x01500003).u16(0x0b).u32(0x06040014 | 0x00020002).u16(0).u16(8);
    EXPECT_EQ(run(*tpm_, 0x12a, {kOwner}, 1, Parameters().u16(0).sized(pub.bytes).bytes).rc, 0U);
    EXPECT_EQ(run(*tpm_, 0x134, {kOwner, 0x01500003}, 1).rc, 0U);
  }
  // The fields that change by the passing of time alone, and those of a resume.
  Offsets moving_fields() {
    const SecretBytes earlier = state_of(*tpm_);
    pause();
    (void)get_random(*tpm_, 1);  // libtpms looks at its clock in a command
    const SecretBytes later = state_of(*tpm_);
    const VolatileLayout layout = parse_volatile(later).value();
    Offsets moving;  // whole fields: of a clock, what moved and what it is a part of
    for (const std::size_t i : differing(earlier, later)) add(moving, i < 7 ? 0 : i - 7, 15);
    add(moving, layout.drbg_seed.offset, layout.drbg_seed.size);
    add(moving, layout.clock, 8);
    add(moving, layout.host_clock, 8);
    add(moving, later.size() - 20, 20);  // the hash
    EXPECT_LT(moving.size(), 250U) << "too much moves for a comparison";
    return moving;
  }
  // The worker ends and another one goes on.
  void park_and_wake() {
    permanent_ = tpm_->permanent().value();
    const SecretBytes saved = state_of(*tpm_);
    tpm_.reset();
    tpm_ = must_start({Origin::restore, permanent_, saved, true});
  }

  struct Step {
    std::uint32_t locality;
    Bytes frame;
  };
  // Executes them, with reads in between that are not executed again, and then again from where
  // they began: each answers the same, and the state differs by the passing of time alone.
  void expect_the_same_again(const std::vector<Step>& steps) {
    const auto execute = [this](const Step& step) {
      return to_bytes(tpm_->process(step.frame, static_cast<std::uint8_t>(step.locality)).value());
    };
    Offsets moving = moving_fields();
    const SecretBytes start = state_of(*tpm_);
    const SecretBytes permanent = tpm_->permanent().value();
    (void)tpm_->take_permanent_changed();
    std::vector<Bytes> replies;
    for (const Step& step : steps) {
      replies.push_back(execute(step));
      (void)get_random(*tpm_, 3);
    }
    EXPECT_FALSE(tpm_->take_permanent_changed());
    const SecretBytes before = state_of(*tpm_);
    EXPECT_GT(differing(start, before).size(), 500U) << "the commands change little";
    moving.merge(moving_fields());  // objects and sessions that came or went have moved them
    tpm_.reset();
    tpm_ = must_start({Origin::restore, permanent, start, true});
    for (std::size_t i = 0; i < steps.size(); i++)
      EXPECT_EQ(to_hex(execute(steps[i])), to_hex(replies[i])) << i;
    const SecretBytes after = state_of(*tpm_);
    ASSERT_EQ(after.size(), before.size());
    for (const std::size_t i : differing(before, after))
      EXPECT_TRUE(moving.contains(i)) << "byte " << i << " of " << after.size();
    EXPECT_EQ(to_hex(tpm_->permanent().value()), to_hex(permanent));
  }

  std::unique_ptr<Engine> tpm_;
  std::uint32_t object_ = 0;
  SecretBytes permanent_;
};

TEST_F(Resume, LeavesTheStateAsItWasButForTime) {
  const Offsets moving = moving_fields();
  const SecretBytes before = state_of(*tpm_);
  park_and_wake();
  pause();
  const SecretBytes after = state_of(*tpm_);
  ASSERT_EQ(after.size(), before.size());
  for (const std::size_t i : differing(before, after))
    EXPECT_TRUE(moving.contains(i)) << "byte " << i << " of " << after.size();
  EXPECT_EQ(to_hex(tpm_->permanent().value()), to_hex(permanent_));
}

// What a journal is spared a whole state for: what is executed again leads to the same.
TEST_F(Resume, PcrCommandsDoneAgainLeadToTheSameState) {
  std::vector<Step> steps;
  for (std::uint32_t i = 0; i < 24; i++) {
    const Bytes digest(32, static_cast<std::byte>(i));
    steps.push_back(
        {i % 3, command(0x182, {i % 17}, 1, Parameters().u32(1).u16(0x0b).raw(digest).bytes)});
    steps.push_back({0, command(0x13c, {i}, 1, Parameters().sized(Bytes(i * 40)).bytes)});
    if (i % 5 == 0) steps.push_back({0, command(0x13d, {16}, 1)});
    if (i % 7 == 0) steps.push_back({3, command(0x13d, {20}, 1)});
  }
  expect_the_same_again(steps);
}

TEST_F(Resume, ContextsLoadedAndFlushedAgainLeadToTheSameState) {
  constexpr std::uint32_t object = 0x80000000, sequence = 0x80000001, third = 0x80000002;
  constexpr std::uint32_t hmac = 0x02000000, policy = 0x03000001;
  const auto save = [&](std::uint32_t handle) {
    const Reply saved = run(*tpm_, 0x162, {handle}, 0);
    EXPECT_EQ(saved.rc, 0U) << handle;
    return Step{0, command(0x161, {}, 0, saved.body)};
  };
  const auto flush = [](std::uint32_t handle) {
    return Step{0, command(0x165, {}, 0, Parameters().u32(handle).bytes)};
  };
  const Step load_object = save(object), load_sequence = save(sequence);
  const Step load_hmac = save(hmac), load_policy = save(policy);
  EXPECT_EQ(run(*tpm_, flush(object).frame).rc, 0U);
  expect_the_same_again({load_hmac, load_object, flush(object), load_policy, load_sequence,
                         load_object, flush(sequence), flush(hmac), load_sequence, flush(object),
                         load_object, flush(third), flush(policy)});
}

TEST_F(Resume, CausesNoPermanentWrite) {
  for (int round = 0; round < 3; round++) {
    (void)tpm_->take_permanent_changed();
    park_and_wake();
    EXPECT_FALSE(tpm_->take_permanent_changed()) << "the resume itself";
    (void)get_random(*tpm_);
    EXPECT_FALSE(tpm_->take_permanent_changed()) << "GetRandom, round " << round;
    EXPECT_EQ(pcr_extend(*tpm_, 7, 9), 0U);
    EXPECT_FALSE(tpm_->take_permanent_changed()) << "PCR_Extend, round " << round;
    EXPECT_EQ(run(*tpm_, 0x173, {object_}, 0).rc, 0U);
    EXPECT_FALSE(tpm_->take_permanent_changed()) << "ReadPublic, round " << round;
    EXPECT_EQ(run(*tpm_, 0x134, {kOwner, 0x01500003}, 1).rc, 0U);
    EXPECT_FALSE(tpm_->take_permanent_changed()) << "an orderly counter, round " << round;
  }
}

}  // namespace
}  // namespace vtpm::engine
