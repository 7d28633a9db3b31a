// SPDX-License-Identifier: Apache-2.0
// LINEAGE, GENERATION and the key that depends on them, against a client that may do everything.
#include "worker/lineage_indices.h"

#include <gtest/gtest.h>
#include <openssl/sha.h>

#include "engine/state_blob.h"
#include "engine/test_commands.h"
#include "frame/lineage.h"

namespace vtpm::worker {
namespace {

using namespace engine::testing;
using engine::Engine;
using frame::kGenerationIndex;
using frame::kLineageIndex;

constexpr std::uint32_t kNvRead = 0x14e, kNvCertify = 0x184, kPolicyNv = 0x149,
                        kNvReadPublic = 0x169;

// One authorization: a session, or the password session.
struct Auth {
  std::uint32_t handle = 0x40000009;
  Bytes password = {};
};
Reply run_as(Engine& tpm, std::uint32_t code, const std::vector<std::uint32_t>& handles,
             const std::vector<Auth>& auths, const Bytes& parameters = {}) {
  Bytes area, whole;
  for (const Auth& auth : auths)
    Writer(area)
        .u32(auth.handle)
        .u16(0)
        .u8(auth.handle == 0x40000009 ? 0 : 1)
        .sized16(auth.password);
  Writer body(whole);
  const auto size = 10 + 4 * handles.size() + 4 + area.size() + parameters.size();
  body.u16(0x8002).u32(static_cast<std::uint32_t>(size)).u32(code);
  for (const auto handle : handles) body.u32(handle);
  body.u32(static_cast<std::uint32_t>(area.size())).bytes(area).bytes(parameters);
  return run(tpm, whole);
}

Bytes sha256(ByteView bytes) {
  Bytes digest(SHA256_DIGEST_LENGTH);
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}
template <class... Parts>
Bytes joined(const Parts&... parts) {
  Bytes out;
  Writer writer(out);
  (writer.bytes(parts), ...);
  return out;
}
Bytes word(std::uint32_t value) { return Parameters().u32(value).bytes; }
Bytes number(std::uint64_t value) {
  Bytes out;
  Writer(out).u64(value);
  return out;
}

class LineageIndicesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    tpm_ = must_start({.origin = engine::Origin::fresh});
    ASSERT_EQ(startup(*tpm_), 0U);
    const auto made = define_lineage(*tpm_, kAuthorization);
    ASSERT_TRUE(made) << made.error().message;
    advance(kFirst);
  }
  void advance(const Bytes& digest) {
    const auto done = advance_lineage(*tpm_, kAuthorization, digest);
    ASSERT_TRUE(done) << done.error().message;
  }
  // Through the owner, whose authorization is empty.
  Bytes read(std::uint32_t index) {
    const std::uint16_t size = index == kLineageIndex ? 32 : 8;
    const Reply reply =
        run_as(*tpm_, kNvRead, {kOwner, index}, {{}}, Parameters().u16(size).u16(0).bytes);
    EXPECT_EQ(reply.rc, 0U) << std::hex << index;
    Reader in(reply.body);
    in.u32();
    return to_bytes(in.sized16());
  }
  void expect_unchanged() {
    EXPECT_EQ(read(kLineageIndex), sha256(joined(Bytes(32), kFirst)));
    EXPECT_EQ(read(kGenerationIndex), number(1));
  }
  std::uint32_t policy_session() {
    const auto session = start_session(*tpm_, 1);
    EXPECT_EQ(session.rc, 0U);
    return session.handle;
  }
  // A session that satisfies kLineageReadPolicy for `command`.
  std::uint32_t reader(std::uint32_t command) {
    const std::uint32_t session = policy_session();
    EXPECT_EQ(run(*tpm_, 0x16c, {session}, 0, word(command)).rc, 0U);
    Parameters branches;
    branches.u32(static_cast<std::uint32_t>(frame::kLineageReaders.size()));
    for (const std::uint32_t code : frame::kLineageReaders)
      branches.sized(sha256(joined(Bytes(32), word(0x16c), word(code))));
    EXPECT_EQ(run(*tpm_, 0x171, {session}, 0, branches.bytes).rc, 0U);
    return session;
  }
  Bytes policy_digest(std::uint32_t session) {
    const Reply reply = run(*tpm_, 0x189, {session}, 0);
    Reader in(reply.body);
    return to_bytes(in.sized16());
  }
  std::uint32_t policy_nv(std::uint32_t session, std::uint32_t index, const Bytes& value,
                          Auth auth = {}, std::uint32_t authority = kOwner) {
    return run_as(*tpm_, kPolicyNv, {authority, index, session}, {std::move(auth)},
                  Parameters().sized(value).u16(0).u16(0).bytes)
        .rc;
  }
  // A policy session in which the present values of both were checked.
  std::uint32_t identity_session(const Bytes& lineage, std::uint64_t generation) {
    const std::uint32_t session = policy_session();
    EXPECT_EQ(policy_nv(session, kLineageIndex, lineage), 0U);
    EXPECT_EQ(policy_nv(session, kGenerationIndex, number(generation)), 0U);
    return session;
  }
  std::uint32_t make_attestation_key(const Bytes& policy) {
    const Bytes area =
        joined(frame::attestation_key_head(policy), Parameters().sized({}).sized({}).bytes);
    const Reply made = run(*tpm_, 0x131, {kEndorsement}, 1,
                           Parameters().u16(4).u16(0).u16(0).sized(area).u16(0).u32(0).bytes);
    EXPECT_EQ(made.rc, 0U);
    return Reader(made.body).u32();
  }
  std::uint32_t quote(std::uint32_t key, std::uint32_t session) {
    return run_as(*tpm_, 0x158, {key}, {{session}},
                  Parameters()
                      .sized(Bytes(16))
                      .u16(0x10)
                      .u32(1)
                      .u16(0xb)
                      .u8(3)
                      .u8(1)
                      .u8(0)
                      .u8(0)
                      .bytes)
        .rc;
  }
  void flush_session(std::uint32_t session) { run(*tpm_, 0x165, {}, 0, word(session)); }

  const SecretBytes kAuthorization = to_secret(Bytes(32, std::byte{0x5c}));
  const Bytes kFirst = Bytes(32, std::byte{0xe1}), kSecond = Bytes(32, std::byte{0xe2});
  std::unique_ptr<Engine> tpm_;
};

TEST_F(LineageIndicesTest, AnEventExtendsTheOneAndCountsTheOther) {
  expect_unchanged();
  advance(kSecond);
  const Bytes lineage = sha256(joined(sha256(joined(Bytes(32), kFirst)), kSecond));
  EXPECT_EQ(read(kLineageIndex), lineage);
  EXPECT_EQ(read(kGenerationIndex), number(2));
  // As after a loss of power.
  ASSERT_TRUE(tpm_->power_cycle());
  ASSERT_EQ(startup(*tpm_), 0U);
  EXPECT_EQ(read(kLineageIndex), lineage);
  EXPECT_EQ(read(kGenerationIndex), number(2));
}

TEST_F(LineageIndicesTest, EverybodyReadsCertifiesAndBuildsPoliciesOnThem) {
  // Nobody knows the owner's authorization, and the platform is closed.
  ASSERT_EQ(run(*tpm_, 0x129, {kOwner}, 1, Parameters().sized(Bytes(20, std::byte{1})).bytes).rc,
            0U);
  ASSERT_EQ(run(*tpm_, 0x121, {kPlatform}, 1, Parameters().u32(kPlatform).u8(0).bytes).rc, 0U);
  const auto read_as = [this](std::uint32_t session, std::uint32_t index, std::uint16_t size) {
    return run_as(*tpm_, kNvRead, {index, index}, {{session}}, Parameters().u16(size).u16(0).bytes)
        .rc;
  };
  // Signed by nobody: a key has no part in what is asked here.
  const auto certify_as = [this](std::uint32_t session, std::uint32_t index, std::uint16_t size) {
    return run_as(*tpm_, kNvCertify, {kNull, index, index}, {{}, {session}},
                  Parameters().sized(Bytes(8)).u16(0x10).u16(size).u16(0).bytes)
        .rc;
  };
  for (const std::uint32_t index : {kLineageIndex, kGenerationIndex}) {
    const std::uint16_t size = index == kLineageIndex ? 32 : 8;
    const Bytes value = index == kLineageIndex ? sha256(joined(Bytes(32), kFirst)) : number(1);
    std::uint32_t session = reader(kNvRead);
    EXPECT_NE(certify_as(session, index, size), 0U) << "a session for reading is for nothing else";
    EXPECT_EQ(read_as(session, index, size), 0U);
    flush_session(session);
    session = reader(kNvCertify);
    EXPECT_NE(read_as(session, index, size), 0U);
    EXPECT_EQ(certify_as(session, index, size), 0U);
    flush_session(session);
    const std::uint32_t policy = policy_session();
    session = reader(kPolicyNv);
    EXPECT_NE(policy_nv(policy, index, Bytes(size, std::byte{9}), {session}, index), 0U);
    EXPECT_EQ(policy_nv(policy, index, value, {session}, index), 0U);
    flush_session(session);
    flush_session(policy);
  }
}

TEST_F(LineageIndicesTest, AnOpenPlatformCannotWriteThem) {
  const Bytes digest = Parameters().sized(kSecond).bytes;
  const auto session = [this](std::uint32_t command) {
    const std::uint32_t fresh = policy_session();
    if (command != 0) run(*tpm_, 0x16c, {fresh}, 0, word(command));
    return Auth{fresh};
  };
  struct Write {
    std::uint32_t code, index;
    Bytes parameters;
  };
  const std::vector<Write> writes = {
      {0x136, kLineageIndex, digest},
      {0x134, kGenerationIndex, {}},
      {0x137, kLineageIndex, Parameters().sized(Bytes(32)).u16(0).bytes},
      {0x137, kGenerationIndex, Parameters().sized(Bytes(8)).u16(0).bytes},
      {0x135, kLineageIndex, Parameters().u32(0).u32(1).bytes},  // NV_SetBits
      {0x138, kLineageIndex, {}},                                // NV_WriteLock
      {0x138, kGenerationIndex, {}},
      {0x14f, kLineageIndex, {}},  // NV_ReadLock
      {0x14f, kGenerationIndex, {}}};
  for (const Write& w : writes) {
    SCOPED_TRACE(w.code);
    EXPECT_NE(run_as(*tpm_, w.code, {kPlatform, w.index}, {{}}, w.parameters).rc, 0U);
    EXPECT_NE(run_as(*tpm_, w.code, {kOwner, w.index}, {{}}, w.parameters).rc, 0U);
    EXPECT_NE(run_as(*tpm_, w.code, {w.index, w.index}, {{}}, w.parameters).rc, 0U);
    for (const std::uint32_t command : {std::uint32_t{0}, w.code}) {
      const Auth by_policy = session(command);
      EXPECT_NE(run_as(*tpm_, w.code, {w.index, w.index}, {by_policy}, w.parameters).rc, 0U);
      flush_session(by_policy.handle);
    }
    const Auth as_a_reader{reader(kNvRead)};
    EXPECT_NE(run_as(*tpm_, w.code, {w.index, w.index}, {as_a_reader}, w.parameters).rc, 0U);
    flush_session(as_a_reader.handle);
  }
  // A guess of the authorization costs the guest nothing, and gives it nothing.
  for (unsigned guess = 0; guess < 40; guess++)
    EXPECT_NE(run_as(*tpm_, 0x136, {kLineageIndex, kLineageIndex},
                     {{.password = Bytes(32, static_cast<std::byte>(guess))}}, digest)
                  .rc,
              0U);
  EXPECT_EQ(run_as(*tpm_, 0x132, {kPlatform}, {{}}).rc, 0U);  // NV_GlobalWriteLock
  expect_unchanged();
  advance(kSecond);
  EXPECT_EQ(read(kGenerationIndex), number(2)) << "and the host still writes";
}

TEST_F(LineageIndicesTest, AnOpenPlatformCannotDeleteOrReplaceThem) {
  for (const std::uint32_t index : {kLineageIndex, kGenerationIndex}) {
    SCOPED_TRACE(index);
    EXPECT_NE(run_as(*tpm_, 0x122, {kOwner, index}, {{}}).rc, 0U);  // NV_UndefineSpace
    EXPECT_NE(run_as(*tpm_, 0x122, {kPlatform, index}, {{}}).rc, 0U);
    const Bytes new_auth = Parameters().sized(Bytes(8, std::byte{7})).bytes;
    for (const std::uint32_t command : {std::uint32_t{0}, 0x11fU, 0x13bU, kNvRead}) {
      const std::uint32_t session = command == kNvRead ? reader(kNvRead) : policy_session();
      if (command != 0) run(*tpm_, 0x16c, {session}, 0, word(command));
      // NV_UndefineSpaceSpecial, NV_ChangeAuth
      EXPECT_NE(run_as(*tpm_, 0x11f, {index, kPlatform}, {{session}, {}}).rc, 0U);
      EXPECT_NE(run_as(*tpm_, 0x13b, {index}, {{session}}, new_auth).rc, 0U);
      flush_session(session);
    }
    EXPECT_NE(run_as(*tpm_, 0x11f, {index, kPlatform}, {{}, {}}).rc, 0U);
    EXPECT_NE(run_as(*tpm_, 0x13b, {index}, {{}}, new_auth).rc, 0U);
  }
  EXPECT_EQ(run_as(*tpm_, 0x125, {kPlatform}, {{}}).rc, 0U);  // ChangePPS
  expect_unchanged();
  EXPECT_EQ(run_as(*tpm_, 0x124, {kPlatform}, {{}}).rc, 0U);  // ChangeEPS
  expect_unchanged();
  EXPECT_EQ(run_as(*tpm_, 0x126, {kPlatform}, {{}}).rc, 0U);  // Clear
  expect_unchanged();
  // Out of sight, an index still holds its handle.
  constexpr std::uint32_t kPlatformNv = 0x4000000d;
  ASSERT_EQ(run_as(*tpm_, 0x121, {kPlatform}, {{}}, Parameters().u32(kPlatformNv).u8(0).bytes).rc,
            0U);
  EXPECT_NE(run(*tpm_, kNvReadPublic, {kLineageIndex}, 0).rc, 0U);
  Parameters area;
  area.u32(kLineageIndex).u16(0x0b).u32(0x00040004 | 0x2).u16(0).u16(32);
  EXPECT_EQ(run(*tpm_, 0x12a, {kOwner}, 1, Parameters().u16(0).sized(area.bytes).bytes).rc, 0x14cU);
  ASSERT_TRUE(tpm_->power_cycle());
  ASSERT_EQ(startup(*tpm_), 0U);
  expect_unchanged();
  advance(kSecond);
  EXPECT_EQ(read(kGenerationIndex), number(2));
}

// US 2014/0040890, claims 4 and 5: it signs while the identity is the one that it was made for.
TEST_F(LineageIndicesTest, TheAttestationKeyStopsWhenTheLineageMoves) {
  const Bytes lineage = sha256(joined(Bytes(32), kFirst));
  std::uint32_t session = identity_session(lineage, 1);
  const std::uint32_t key = make_attestation_key(policy_digest(session));
  EXPECT_EQ(quote(key, session), 0U);
  EXPECT_NE(quote(key, session), 0U) << "a session signs once";
  EXPECT_NE(run_as(*tpm_, 0x158, {key}, {{}}, Parameters().sized({}).u16(0x10).u32(0).bytes).rc, 0U)
      << "no authorization but the policy";
  flush_session(session);

  session = policy_session();
  ASSERT_TRUE(tpm_->process(command(0x136, {kLineageIndex, kLineageIndex}, 1,
                                    Parameters().sized(kSecond).bytes, kAuthorization),
                            0));
  EXPECT_NE(policy_nv(session, kLineageIndex, lineage), 0U);
  EXPECT_EQ(policy_nv(session, kGenerationIndex, number(1)), 0U);
  EXPECT_NE(quote(key, session), 0U);
  flush_session(session);
  // With the value of today the policy is another one than the key's.
  session = identity_session(read(kLineageIndex), 1);
  EXPECT_NE(quote(key, session), 0U);
}

// Claims 4 and 7.
TEST_F(LineageIndicesTest, TheAttestationKeyStopsWhenTheGenerationMoves) {
  const Bytes lineage = sha256(joined(Bytes(32), kFirst));
  std::uint32_t session = identity_session(lineage, 1);
  const std::uint32_t key = make_attestation_key(policy_digest(session));
  ASSERT_TRUE(tpm_->process(
      command(0x134, {kGenerationIndex, kGenerationIndex}, 1, {}, kAuthorization), 0));
  EXPECT_EQ(quote(key, session), 0U)
      << "what was checked before it moved; no such session is copied";
  EXPECT_NE(policy_nv(session, kGenerationIndex, number(1)), 0U);
  EXPECT_NE(quote(key, session), 0U);
  flush_session(session);
  session = identity_session(lineage, 2);
  EXPECT_NE(quote(key, session), 0U);
}

TEST_F(LineageIndicesTest, TheReadPolicyIsWhatItSays) {
  EXPECT_EQ(to_hex(policy_digest(reader(kNvRead))), frame::kLineageReadPolicy);
  for (const auto& [index, attributes, size] :
       {std::tuple{kLineageIndex, frame::kLineageAttributes, frame::kLineageSize},
        std::tuple{kGenerationIndex, frame::kGenerationAttributes, frame::kGenerationSize}}) {
    const Reply reply = run(*tpm_, kNvReadPublic, {index}, 0);
    Reader in(reply.body);
    const Bytes area = to_bytes(in.sized16());
    EXPECT_EQ(area, frame::lineage_index_area(index, attributes | frame::kNvWritten, size));
  }
}

}  // namespace
}  // namespace vtpm::worker
