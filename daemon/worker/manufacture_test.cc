// SPDX-License-Identifier: Apache-2.0
#include "worker/manufacture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "engine/copied_state.h"
#include "engine/state_blob.h"
#include "worker/key_templates.h"
#include "worker/test_worker.h"

namespace vtpm::worker {
namespace {

using namespace testing;
using engine::Engine;
using engine::Origin;
using engine::testing::kEndorsement;
using engine::testing::kPlatform;
using engine::testing::must_start;
using engine::testing::startup;
using privsep::Certificates;
using privsep::Failed;
using privsep::IdentityProfile;
using privsep::MadeKeys;
using privsep::Manufacture;
using privsep::Manufactured;

std::array<std::byte, 32> filled(unsigned char byte) {
  std::array<std::byte, 32> out{};
  out.fill(std::byte{byte});
  return out;
}

// SHA-256 of 32 zeros and the digest of the event, filled(0xe1), by sha256sum.
constexpr std::string_view kLineageAfterE1 =
    "633eaa029dfe17a774404a8ecdd741c8a6dd881164cceca79f13a1540e3e4174";

class ManufactureTest : public WorkerTest {
 protected:
  void begin(const privsep::Message& order) {
    static const bool warm = Engine::warm_up().has_value();
    ASSERT_TRUE(warm);
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
    manager_.reset(ends[0]);
    UniqueFd theirs(ends[1]);
    pid_ = ::fork();
    if (pid_ == 0) {
      manager_.reset();
      ::_exit(worker::run(std::move(theirs)));
    }
    tell(order);
  }
  // A manager whose certificates are as long as is usual, and tell the keys apart.
  static Manufacture order(IdentityProfile profile) {
    return {profile, SecretBytes(32, std::byte{0x5c}), filled(0xe1), filled(0x90)};
  }
  SecretBytes make(IdentityProfile profile) { return make(order(profile)); }
  SecretBytes make(const Manufacture& order) {
    begin(order);
    keys_ = expect<MadeKeys>();
    Certificates answer;
    for (std::size_t i = 0; i < keys_.keys.size(); i++)
      answer.certificates.emplace_back(1100 + i, std::byte{static_cast<unsigned char>(0x30 + i)});
    answer.chain = Bytes(700, std::byte{0xca});
    tell(answer);
    auto made = expect<Manufactured>();
    EXPECT_EQ(status(), 0);
    EXPECT_EQ(made.volatile_state.empty(), order.running.empty());
    running_ = std::move(made.volatile_state);
    return std::move(made.permanent);
  }
  SecretBytes make_ahead(IdentityProfile profile) {
    begin(privsep::MakeAhead{profile});
    auto made = expect<Manufactured>();
    EXPECT_EQ(status(), 0);
    return std::move(made.permanent);
  }
  // CreatePrimary again: the certified keys are those of the state's seeds.
  void expect_the_templates_to_make_the_keys(const SecretBytes& made, IdentityProfile profile) {
    auto tpm = must_start({Origin::restore, made});
    ASSERT_EQ(startup(*tpm), 0U);
    std::size_t i = 0;
    for (const KeyTemplate& key : key_templates(profile, filled(0x90))) {
      if (key.hierarchy != kEndorsement) continue;
      const Bytes parameters =
          Parameters().u16(4).u16(0).u16(0).sized(key.public_area).u16(0).u32(0).bytes;
      const Reply reply = engine::testing::run(*tpm, 0x131, {key.hierarchy}, 1, parameters);
      ASSERT_EQ(reply.rc, 0U);
      Reader in(reply.body);
      const std::uint32_t handle = in.u32();
      in.u32();
      ASSERT_LT(i, keys_.keys.size());
      EXPECT_EQ(to_bytes(in.sized16()), keys_.keys[i++]);
      engine::testing::run(*tpm, 0x165, {}, 0, Parameters().u32(handle).bytes);
    }
    EXPECT_EQ(i, keys_.keys.size());
  }
  // TPM2_GetCapability of the persistent handles.
  static std::vector<std::uint32_t> kept_keys(const SecretBytes& made) {
    auto tpm = must_start({Origin::restore, made});
    EXPECT_EQ(startup(*tpm), 0U);
    const Reply reply =
        engine::testing::run(*tpm, 0x17a, {}, 0, Parameters().u32(1).u32(0x81000000).u32(20).bytes);
    Reader in(reply.body);
    in.u8();
    in.u32();
    std::vector<std::uint32_t> kept(in.u32());
    for (std::uint32_t& handle : kept) handle = in.u32();
    EXPECT_TRUE(in.done());
    return kept;
  }
  // A device that serves in read-only mode, with PCR 3 extended; a client of it.
  Client read_only_device() {
    start_.mode = privsep::DeviceMode::read_only;
    start_.checkpoint.permanent.clear();
    launch();
    expect<privsep::Ready>();
    Client client(data_path());
    EXPECT_EQ(client.run(extend(3, 1)).rc, 0U);
    return client;
  }
  static Bytes read_public(Engine& tpm, std::uint32_t handle) {
    const Reply reply = engine::testing::run(tpm, 0x173, {handle}, 0);
    EXPECT_EQ(reply.rc, 0U) << std::hex << handle;
    Reader in(reply.body);
    return to_bytes(in.sized16());
  }
  MadeKeys keys_;
  SecretBytes running_;  // of what was made last
};

TEST_F(ManufactureTest, MakesWhatToolsLookFor) {
  const SecretBytes made = make(IdentityProfile::standard);
  ASSERT_EQ(keys_.keys.size(), 4U);
  EXPECT_NE(keys_.manufacturer, 0U);
  EXPECT_FALSE(keys_.model.empty());
  EXPECT_FALSE(engine::is_blank(made).value());
  auto tpm = must_start({Origin::restore, made});
  ASSERT_EQ(startup(*tpm), 0U);
  EXPECT_EQ(read_public(*tpm, 0x81010001), keys_.keys[0]);
  EXPECT_EQ(read_public(*tpm, 0x81010002), keys_.keys[1]);
  EXPECT_EQ(read_public(*tpm, 0x81020001), keys_.keys[3]);
  EXPECT_FALSE(read_public(*tpm, 0x81000001).empty());
  // The certificates, whole; nobody writes or removes them with the owner's authorization.
  const std::uint32_t indices[] = {0x01c00002, 0x01c0000a, 0x01c00016, 0x01c90100};
  for (std::size_t i = 0; i < 4; i++) {
    Bytes read;
    for (const std::uint16_t at : {0, 1024}) {
      const auto size = static_cast<std::uint16_t>(at == 0 ? 1024 : 1100 + i - 1024);
      const Reply part = engine::testing::run(*tpm, 0x14e, {indices[i], indices[i]}, 1,
                                              Parameters().u16(size).u16(at).bytes);
      ASSERT_EQ(part.rc, 0U);
      read.insert(read.end(), part.body.begin() + 6, part.body.begin() + 6 + size);
    }
    EXPECT_EQ(read, Bytes(1100 + i, std::byte{static_cast<unsigned char>(0x30 + i)}));
    EXPECT_NE(engine::testing::run(*tpm, 0x122, {engine::testing::kOwner, indices[i]}, 1).rc, 0U);
    EXPECT_NE(engine::testing::run(*tpm, 0x137, {indices[i], indices[i]}, 1,
                                   Parameters().sized(Bytes(4)).u16(0).bytes)
                  .rc,
              0U);
  }
}

TEST_F(ManufactureTest, KeepsWhereItComesFrom) {
  const SecretBytes made = make(IdentityProfile::ecc);
  auto tpm = must_start({Origin::restore, made});
  ASSERT_EQ(startup(*tpm), 0U);
  const auto read = [&tpm](std::uint32_t index, std::uint16_t size) {
    const Reply reply = engine::testing::run(*tpm, 0x14e, {engine::testing::kOwner, index}, 1,
                                             Parameters().u16(size).u16(0).bytes);
    EXPECT_EQ(reply.rc, 0U) << std::hex << index;
    return reply.rc == 0 ? Bytes(reply.body.begin() + 6, reply.body.begin() + 6 + size) : Bytes();
  };
  EXPECT_EQ(read(0x01c00100, 700), Bytes(700, std::byte{0xca}));
  EXPECT_EQ(to_hex(read(0x01000711, 32)), kLineageAfterE1);
  EXPECT_EQ(to_hex(read(0x01000712, 8)), "0000000000000001");
}

TEST_F(ManufactureTest, EveryTemplateMakesItsKeyAgain) {
  const SecretBytes made = make(IdentityProfile::full);
  ASSERT_EQ(keys_.keys.size(), 6U);
  expect_the_templates_to_make_the_keys(made, IdentityProfile::full);
}

TEST_F(ManufactureTest, TwoAreNeverTheSame) {
  std::set<Bytes> keys;
  for (int i = 0; i < 4; i++) {
    make(IdentityProfile::ecc);
    keys.insert(keys_.keys.begin(), keys_.keys.end());
  }
  EXPECT_EQ(keys.size(), 12U);
}

TEST_F(ManufactureTest, AnIdentityGoesOnFromWhatWasMadeAhead) {
  for (const auto profile : {IdentityProfile::standard, IdentityProfile::full}) {
    Manufacture wanted = order(profile);
    wanted.ahead = make_ahead(profile);
    Bytes rsa;
    {
      auto tpm = must_start({Origin::restore, wanted.ahead});
      ASSERT_EQ(startup(*tpm), 0U);
      rsa = read_public(*tpm, 0x81010001);
      // It is nobody's yet: there is no LINEAGE, and no key to attest with.
      EXPECT_NE(engine::testing::run(*tpm, 0x169, {0x01000711}, 0).rc, 0U);
      EXPECT_NE(engine::testing::run(*tpm, 0x173, {0x81020001}, 0).rc, 0U);
    }
    const SecretBytes made = make(wanted);
    ASSERT_FALSE(keys_.keys.empty());
    EXPECT_EQ(keys_.keys[0], rsa);
    expect_the_templates_to_make_the_keys(made, profile);
    // As if it had been made in one piece: nothing is left that waited.
    EXPECT_EQ(kept_keys(made),
              (std::vector<std::uint32_t>{0x81000001, 0x81010001, 0x81010002, 0x81020001}));
    auto tpm = must_start({Origin::restore, made});
    ASSERT_EQ(startup(*tpm), 0U);
    const Reply lineage = engine::testing::run(*tpm, 0x14e, {engine::testing::kOwner, 0x01000711},
                                               1, Parameters().u16(32).u16(0).bytes);
    ASSERT_EQ(lineage.rc, 0U);
    EXPECT_EQ(to_hex(ByteView(lineage.body).subspan(6, 32)), kLineageAfterE1);
    EXPECT_EQ(engine::testing::run(*tpm, 0x169, {0x01c00002}, 0).rc, 0U);
  }
}

TEST_F(ManufactureTest, TwoThatWereMadeAheadShareNothing) {
  std::set<Bytes> keys;
  std::set<Bytes> secrets;
  for (int i = 0; i < 2; i++) {
    Manufacture wanted = order(IdentityProfile::standard);
    wanted.ahead = make_ahead(IdentityProfile::standard);
    const SecretBytes made = make(wanted);
    keys.insert(keys_.keys.begin(), keys_.keys.end());
    const auto layout = engine::parse_permanent(made);
    ASSERT_TRUE(layout);
    const auto before = engine::parse_permanent(wanted.ahead);
    ASSERT_TRUE(before);
    for (const auto& [at, was] : {std::pair{layout->endorsement_seed, before->endorsement_seed},
                                  std::pair{layout->storage_seed, before->storage_seed},
                                  std::pair{layout->platform_seed, before->platform_seed}}) {
      const Bytes seed = to_bytes(ByteView(made).subspan(at.offset, at.size));
      EXPECT_EQ(seed, to_bytes(ByteView(wanted.ahead).subspan(was.offset, was.size)));
      secrets.insert(seed);
    }
  }
  EXPECT_EQ(keys.size(), 8U);
  EXPECT_EQ(secrets.size(), 6U);
}

TEST_F(ManufactureTest, NothingComesOfWhatWasMadeAheadForLess) {
  Manufacture wanted = order(IdentityProfile::full);
  wanted.ahead = make_ahead(IdentityProfile::ecc);
  begin(wanted);
  expect<Failed>();
  EXPECT_NE(status(), 0);
}

TEST_F(ManufactureTest, ACopyGetsKeysAndCertificatesInTheirPlaces) {
  const SecretBytes source = make(IdentityProfile::ecc);
  const MadeKeys old = keys_;
  const auto root_key = [&](const SecretBytes& state) {
    auto tpm = must_start({Origin::restore, state});
    EXPECT_EQ(startup(*tpm), 0U);
    EXPECT_EQ(read_public(*tpm, 0x81010002), keys_.keys[0]);
    EXPECT_EQ(engine::testing::run(*tpm, 0x169, {0x01c0000a}, 0).rc, 0U);
    return read_public(*tpm, 0x81000001);
  };
  const Bytes root = root_key(source);
  for (const bool fresh_storage : {false, true}) {
    Manufacture wanted = order(IdentityProfile::ecc);
    wanted.event = filled(0xe2);
    wanted.endorsement_seed = SecretBytes(64, std::byte{0x99});
    wanted.copy = source;
    wanted.fresh_storage = fresh_storage;
    const SecretBytes copy = make(wanted);
    const auto layout = engine::parse_permanent(copy);
    ASSERT_TRUE(layout);
    EXPECT_EQ(to_bytes(ByteView(copy).subspan(layout->endorsement_seed.offset, 64)),
              Bytes(64, std::byte{0x99}));
    ASSERT_EQ(keys_.keys.size(), old.keys.size());
    for (std::size_t i = 0; i < old.keys.size(); i++) EXPECT_NE(keys_.keys[i], old.keys[i]);
    EXPECT_EQ(root_key(copy) == root, !fresh_storage);
  }
}

// What it takes with it of the one whose place it takes: wrong guesses, and a higher generation.
TEST_F(ManufactureTest, ACopyThatTakesAnothersPlaceGoesPastIt) {
  const SecretBytes source = make(IdentityProfile::ecc);
  Manufacture wanted = order(IdentityProfile::ecc);
  wanted.endorsement_seed = SecretBytes(64, std::byte{0x99});
  wanted.copy = source;
  wanted.steps = 4;
  const auto layout = engine::parse_permanent(source);
  ASSERT_TRUE(layout);
  wanted.predecessor = source;
  store_be32(wanted.predecessor.data() + layout->failed_tries, 3);
  wanted.predecessor.resize(privsep::kMaxPredecessor);
  const SecretBytes copy = make(wanted);
  const auto after = engine::parse_permanent(copy);
  ASSERT_TRUE(after);
  EXPECT_EQ(load_be32(copy.data() + after->failed_tries), 3U);
  auto tpm = must_start({Origin::restore, copy});
  ASSERT_EQ(startup(*tpm), 0U);
  const Reply generation = engine::testing::run(*tpm, 0x14e, {engine::testing::kOwner, 0x01000712},
                                                1, Parameters().u16(8).u16(0).bytes);
  ASSERT_EQ(generation.rc, 0U);
  EXPECT_EQ(generation.body[13], std::byte{5});
}

TEST_F(ManufactureTest, ACopyOfARunningTpmGoesOnWithItsPcrs) {
  Manufacture wanted = order(IdentityProfile::ecc);
  Bytes measured;
  wanted.copy = make(IdentityProfile::ecc);
  {
    auto source = must_start({Origin::restore, wanted.copy});
    ASSERT_EQ(startup(*source), 0U);
    ASSERT_EQ(engine::testing::pcr_extend(*source, 4, 7), 0U);
    measured = engine::testing::pcr_read(*source, 4);
    wanted.copy = *source->permanent();
    wanted.running = *engine::take_running_part(*source->volatile_state());
  }
  wanted.event = filled(0xe2);
  wanted.endorsement_seed = SecretBytes(64, std::byte{0x99});
  const SecretBytes copy = make(wanted);
  {
    auto tpm =
        must_start({.origin = Origin::restore, .permanent = copy, .volatile_state = running_});
    EXPECT_EQ(engine::testing::pcr_read(*tpm, 4), measured);
    EXPECT_EQ(read_public(*tpm, 0x81010002), keys_.keys[0]);
  }

  wanted.running.pop_back();
  begin(wanted);
  const auto keys = expect<MadeKeys>();
  tell(Certificates{std::vector<Bytes>(keys.keys.size(), Bytes(20)), Bytes(20)});
  expect<Failed>();
  EXPECT_NE(status(), 0);
}

TEST_F(ManufactureTest, NothingComesOfItWithoutCertificates) {
  begin(order(IdentityProfile::ecc));
  expect<MadeKeys>();
  tell(Certificates{{Bytes(10, std::byte{1})}, {}});
  expect<Failed>();
  EXPECT_NE(status(), 0);
}

TEST_F(ManufactureTest, AReadOnlyDeviceBecomesReadWriteBetweenTwoCommands) {
  const SecretBytes made = make(IdentityProfile::ecc);
  const Client client = read_only_device();
  const Bytes before = digest_of(client.run(read_pcr(3)));
  EXPECT_EQ(client.run(define_space(0x01000001)).rc, 0x156U);
  expect<privsep::Denied>();
  tell(privsep::TakeIdentity{made});
  const Client waker(data_path());  // a socket's worker looks at its manager when something comes
  const auto commit = expect<privsep::Commit>();
  EXPECT_FALSE(engine::is_blank(commit.checkpoint.permanent).value());
  EXPECT_FALSE(commit.checkpoint.volatile_state.empty());
  // Not before the store has it.
  client.send(read_pcr(3));
  EXPECT_FALSE(client.has_reply(200));
  tell(privsep::Committed{commit.checkpoint.sequence, commit.checkpoint.permanent_version});
  EXPECT_EQ(digest_of(client.reply()), before);
  EXPECT_EQ(run(client, define_space(0x01000001)).rc, 0U);
  EXPECT_EQ(client.run(kStartup).rc, 0x100U);
}

// What a client set while nothing but the gate kept it from an identity has no effect on that one.
TEST_F(ManufactureTest, AnOpenDeviceHasAnOpenPlatformAfterTheSwitchAndAVmWhatItsFirmwareLeft) {
  const SecretBytes made = make(IdentityProfile::ecc);
  const Bytes auth = Parameters().sized(Bytes(8, std::byte{7})).bytes;
  const Bytes none = Parameters().u16(0).bytes;
  for (const auto kind : {privsep::DeviceKind::open, privsep::DeviceKind::vm}) {
    start_.kind = kind;
    const Client client = read_only_device();
    EXPECT_EQ(run(client, command(0x129, {kPlatform}, 1, auth)).rc, 0U);
    tell(privsep::TakeIdentity{made});
    const Client waker(data_path());
    const auto commit = expect<privsep::Commit>();
    tell(privsep::Committed{commit.checkpoint.sequence, commit.checkpoint.permanent_version});
    const std::uint32_t rc = run(client, command(0x129, {kPlatform}, 1, none)).rc;
    EXPECT_EQ(rc, kind == privsep::DeviceKind::open ? 0U : 0x9a2U);  // TPM_RC_BAD_AUTH, session 1
    kill_worker();
  }
}

TEST_F(ManufactureTest, ARefusedSwitchLeavesTheJournalAsItWas) {
  const SecretBytes made = make(IdentityProfile::ecc);
  const Client client = read_only_device();
  tell(privsep::TakeIdentity{made});
  expect<privsep::Commit>();
  tell(privsep::Refused{"the disk is full"});
  EXPECT_NE(status(), 0);
  EXPECT_TRUE(engine::is_blank(newest().permanent).value());
}

}  // namespace
}  // namespace vtpm::worker
