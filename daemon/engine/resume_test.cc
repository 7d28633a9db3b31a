// SPDX-License-Identifier: Apache-2.0
// A TPM that was parked and woken is the one that it was: its state differs in time fields and in
// the generator's seed, and nothing else follows from the resume.
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <array>
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

// A program's command through the kernel's resource manager, and the next one.
TEST_F(Resume, ContextsSavedAgainAreTheSame) {
  constexpr std::uint32_t object = 0x80000000, sequence = 0x80000001;
  constexpr std::uint32_t hmac = 0x02000000, policy = 0x03000001;
  const auto save = [](std::uint32_t handle) { return Step{0, command(0x162, {handle}, 0)}; };
  const auto flush = [](std::uint32_t handle) {
    return Step{0, command(0x165, {}, 0, Parameters().u32(handle).bytes)};
  };
  const Reply saved = run(*tpm_, save(object).frame);
  const Step load_object{0, command(0x161, {}, 0, saved.body)};
  expect_the_same_again({save(object), save(hmac), flush(object), load_object, save(sequence),
                         save(object), save(policy), flush(sequence), save(object)});
  const Reply earlier = run(*tpm_, save(object).frame);
  EXPECT_NE(earlier.body, run(*tpm_, save(object).frame).body) << "a counter is in it";
}

// What is not kept at all: each lets somebody see something, or use a key, and leaves the state.
class Uses : public Resume {
 protected:
  struct Use {
    const char* name;
    std::uint32_t code;
    Bytes parameters;
  };
  // Makes a primary key of this template, uses it, and is rid of it.
  void expect_no_trace(const Bytes& area, const std::vector<Use>& uses, ByteView data = {}) {
    Parameters sensitive;
    sensitive.u16(0).sized(data);
    Parameters create;
    create.sized(sensitive.bytes).sized(area).u16(0).u32(0);
    const Reply made = run(*tpm_, 0x131, {kOwner}, 1, create.bytes);
    ASSERT_EQ(made.rc, 0U) << uses.front().name;
    const std::uint32_t key = load_be32(made.body.data());
    for (const Use& use : uses)
      expect_no_trace(use.name, command(use.code, {key}, 1, use.parameters));
    EXPECT_EQ(run(*tpm_, 0x165, {}, 0, Parameters().u32(key).bytes).rc, 0U);
  }
  void expect_no_trace(const char* name, const Bytes& frame) {
    // The first use of an algorithm tests it, and of a boot notes in NV that there was one.
    EXPECT_EQ(run(*tpm_, frame).rc, 0U) << name;
    const Offsets moving = moving_fields();
    (void)tpm_->take_permanent_changed();
    const SecretBytes before = state_of(*tpm_);
    EXPECT_EQ(run(*tpm_, frame).rc, 0U) << name;
    const SecretBytes after = state_of(*tpm_);
    EXPECT_FALSE(tpm_->take_permanent_changed()) << name;
    ASSERT_EQ(after.size(), before.size()) << name;
    for (const std::size_t i : differing(before, after))
      EXPECT_TRUE(moving.contains(i)) << name << ": byte " << i << " of " << after.size();
  }
};

TEST_F(Uses, ByAPasswordLeaveNothing) {
  constexpr std::uint32_t use = 0x40, origin = 0x20, fixed = 0x12, decrypt = 0x20000,
                          sign = 0x40000;
  constexpr std::uint32_t index = 0x01500005;
  Parameters nv;
  nv.u32(index).u16(0x0b).u32(0x00040004).u16(0).u16(8);
  EXPECT_EQ(run(*tpm_, 0x12a, {kOwner}, 1, Parameters().u16(0).sized(nv.bytes).bytes).rc, 0U);
  EXPECT_EQ(run(*tpm_, 0x137, {index, index}, 1, Parameters().sized(Bytes(8)).u16(0).bytes).rc, 0U);
  expect_no_trace("NV_Read", command(0x14e, {index, index}, 1, Parameters().u16(8).u16(0).bytes));

  Parameters sealed;
  sealed.u16(0x08).u16(0x0b).u32(fixed | use).u16(0).u16(0x10).u16(0);
  expect_no_trace(sealed.bytes, {{"Unseal", 0x15e, {}}}, Bytes(16, std::byte{7}));

  Parameters hmac;
  hmac.u16(0x08).u16(0x0b).u32(fixed | use | origin | sign).u16(0).u16(0x05).u16(0x0b).u16(0);
  expect_no_trace(hmac.bytes, {{"HMAC", 0x155, Parameters().sized(Bytes(40)).u16(0x10).bytes}});

  Parameters aes;
  aes.u16(0x25).u16(0x0b).u32(fixed | use | origin | decrypt | sign).u16(0);
  aes.u16(6).u16(128).u16(0x43).u16(0);
  const Bytes iv(16);
  expect_no_trace(
      aes.bytes,
      {{"EncryptDecrypt", 0x164, Parameters().u8(0).u16(0x43).sized(iv).sized(Bytes(32)).bytes},
       {"EncryptDecrypt2", 0x193, Parameters().sized(Bytes(32)).u8(0).u16(0x43).sized(iv).bytes}});

  // The generator of P-256, as somebody else's public point.
  const Bytes x =
      from_hex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296").value();
  const Bytes y =
      from_hex("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5").value();
  Parameters point;
  point.sized(x).sized(y);
  Parameters ecc;
  ecc.u16(0x23).u16(0x0b).u32(fixed | use | origin | decrypt).u16(0);
  ecc.u16(0x10).u16(0x10).u16(3).u16(0x10).u16(0).u16(0);
  expect_no_trace(ecc.bytes, {{"ECDH_ZGen", 0x154, Parameters().sized(point.bytes).bytes}});

  Parameters rsa;
  rsa.u16(0x01).u16(0x0b).u32(fixed | use | origin | decrypt).u16(0);
  rsa.u16(0x10).u16(0x10).u16(2048).u32(0).u16(0);
  Bytes cipher(256, std::byte{3});
  expect_no_trace(rsa.bytes,
                  {{"RSA_Decrypt", 0x159, Parameters().sized(cipher).u16(0x10).u16(0).bytes}});
}

// GetRandom in an audit session that began with no secret, so that its key is empty.
Bytes audited_get_random(const Session& session) {
  const Bytes what = Parameters().u32(0x17b).u16(8).bytes;
  const Bytes nonce(16, std::byte{0x22});
  constexpr std::uint8_t attributes = 0x81;  // continueSession, audit
  std::array<std::byte, 32> digest{};
  const auto* bytes = reinterpret_cast<const unsigned char*>(what.data());
  auto* const out = reinterpret_cast<unsigned char*>(digest.data());
  EXPECT_NE(SHA256(bytes, what.size(), out), nullptr);
  const Bytes message = Parameters().raw(digest).raw(nonce).raw(session.nonce).u8(attributes).bytes;
  bytes = reinterpret_cast<const unsigned char*>(message.data());
  EXPECT_NE(::HMAC(EVP_sha256(), "", 0, bytes, message.size(), out, nullptr), nullptr);
  Parameters area;
  area.u32(session.handle).sized(nonce).u8(attributes).sized(digest);
  Parameters frame;
  frame.u16(0x8002).u32(static_cast<std::uint32_t>(10 + 4 + area.bytes.size() + 2)).u32(0x17b);
  return frame.u32(static_cast<std::uint32_t>(area.bytes.size())).raw(area.bytes).u16(8).bytes;
}

TEST_F(Uses, AnExclusiveAuditSessionSeesThemAll) {
  const Session session = start_session(*tpm_);
  EXPECT_FALSE(tpm_->is_audited(state_of(*tpm_)).value());
  EXPECT_EQ(run(*tpm_, audited_get_random(session)).rc, 0U);
  EXPECT_TRUE(tpm_->is_audited(state_of(*tpm_)).value());
  park_and_wake();
  EXPECT_TRUE(tpm_->is_audited(state_of(*tpm_)).value());
  EXPECT_EQ(pcr_read(*tpm_, 0).size(), 32U);
  EXPECT_FALSE(tpm_->is_audited(state_of(*tpm_)).value());
}

TEST_F(Uses, AnAuditOfCommandsSeesThemAll) {
  EXPECT_FALSE(tpm_->is_audited(state_of(*tpm_)).value());
  // SetCommandCodeAuditStatus: ReadClock is audited, and is no more.
  const auto audit = [this](bool on) {
    Parameters codes;
    codes.u16(0x10);
    codes.u32(on ? 1 : 0);
    if (on) codes.u32(0x181);
    codes.u32(on ? 0 : 1);
    if (!on) codes.u32(0x181);
    EXPECT_EQ(run(*tpm_, 0x140, {kOwner}, 1, codes.bytes).rc, 0U);
    EXPECT_TRUE(tpm_->take_permanent_changed());
  };
  audit(true);
  EXPECT_TRUE(tpm_->is_audited(state_of(*tpm_)).value());
  park_and_wake();
  EXPECT_TRUE(tpm_->is_audited(state_of(*tpm_)).value());
  audit(false);
  EXPECT_FALSE(tpm_->is_audited(state_of(*tpm_)).value());
  EXPECT_FALSE(tpm_->is_audited(Bytes(7)).has_value());
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
