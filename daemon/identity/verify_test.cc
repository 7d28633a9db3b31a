// SPDX-License-Identifier: Apache-2.0
// A true lineage is accepted; each false one is rejected, at the step that it fails.
#include "identity/verify.h"

#include <gtest/gtest.h>

#include "identity/pem.h"
#include "identity/test_story.h"

namespace vtpm::identity {
namespace {

using testing::filled;
using testing::must;
using testing::uuid;

class VerifyTest : public ::testing::Test, protected testing::Story {
 protected:
  // Empty: accepted.
  std::string verdict() const { return verdict(evidence_); }
  static std::string verdict(const Evidence& evidence) {
    const auto verified = verify(evidence);
    EXPECT_EQ(ERR_peek_error(), 0U);
    return verified ? "" : std::string(to_string(verified.error().step));
  }
  template <class Change>
  std::string verdict_with(Change change) const {
    Evidence changed = evidence_;
    change(changed);
    return verdict(changed);
  }
};

TEST_F(VerifyTest, ThreeGenerationsAreAccepted) {
  const auto verified = verify(evidence_);
  ASSERT_TRUE(verified) << verified.error().why;
  EXPECT_EQ(verified->device, uuid(3));
  EXPECT_EQ(verified->descent.generation, 3U);
  EXPECT_EQ(verified->events, 3U);
  evidence_.kin = {certificates_[0], certificates_[1]};
  evidence_.least_generation = 3;
  evidence_.lists = {list_of(family_.private_key(), family_.certificate(), certificates_[0]),
                     list_of(authority_.private_key(), authority_.root(), stranger_.certificate())};
  prove_live();
  EXPECT_EQ(verdict(), "");
}

TEST_F(VerifyTest, AnotherRootOrFamilyEndsTheChain) {
  const Authority elsewhere = must(Authority::create());
  EXPECT_EQ(verdict_with([&](Evidence& e) { e.root = elsewhere.root(); }), "chain");
  EXPECT_EQ(verdict_with([&](Evidence& e) { e.issuers = {stranger_.certificate()}; }), "chain");
  EXPECT_EQ(verdict_with([&](Evidence& e) { e.issuers = {authority_.root()}; }), "chain");
  EXPECT_EQ(verdict_with([&](Evidence& e) { e.certificate = family_.certificate(); }), "chain");
  EXPECT_EQ(verdict_with([&](Evidence& e) { e.certificate = {}; }), "chain");
  for (std::size_t i = 0; i < evidence_.certificate.size(); i += 29)
    EXPECT_EQ(verdict_with([&](Evidence& e) { e.certificate[i] ^= std::byte{1}; }), "chain") << i;
}

TEST_F(VerifyTest, ALogThatIsNotTheDevicesIsRejected) {
  for (std::size_t i = 0; i < evidence_.log.size(); i += 17)
    EXPECT_EQ(verdict_with([&](Evidence& e) { e.log[i] ^= 1; }), "log") << i;
  const auto with = [&](const EventLog& log) {
    return verdict_with([&](Evidence& e) { e.log = to_text(log); });
  };
  EXPECT_EQ(with({log_[0], log_[2]}), "log") << "a missing event";
  EXPECT_EQ(with({log_[0], log_[1]}), "log");
  EXPECT_EQ(with({log_[1], log_[2]}), "log");
  EXPECT_EQ(with({}), "log");
  // All of it made anew by another family, which leads to the same lineage.
  EventLog forged = log_;
  forged[1] = must(stranger_.sign(log_[1].event));
  EXPECT_EQ(with(forged), "log");
  // A certificate of the family that another device's log was put beside.
  EXPECT_EQ(verdict_with([&](Evidence& e) { e.certificate = certificates_[1]; }), "log");
  const Bytes of_another = certify(family_, uuid(9), must(replay(log_)));
  EXPECT_EQ(verdict_with([&](Evidence& e) { e.certificate = of_another; }), "log");
}

TEST_F(VerifyTest, OneOfAnotherFamilyIsNoKin) {
  const Bytes foreign = certify(stranger_, uuid(3), must(replay(log_)));
  EXPECT_EQ(verdict_with([&](Evidence& e) { e.kin = {certificates_[0], foreign}; }), "family");
  EXPECT_EQ(verdict_with([&](Evidence& e) { e.kin = {Bytes(4)}; }), "family");
}

TEST_F(VerifyTest, WhatIsRevokedIsRejected) {
  const auto with = [&](Bytes list) {
    return verdict_with([&](Evidence& e) { e.lists = {std::move(list)}; });
  };
  const SecretBytes& key = family_.private_key();
  EXPECT_EQ(with(list_of(key, family_.certificate(), certificates_[2])), "revocation");
  EXPECT_EQ(with(list_of(authority_.private_key(), authority_.root(), family_.certificate())),
            "revocation");
  EXPECT_EQ(with(list_of(key, family_.certificate(), certificates_[0], -5)), "revocation")
      << "out of date";
  EXPECT_EQ(with(list_of(stranger_.private_key(), stranger_.certificate(), certificates_[2])),
            "revocation")
      << "of another issuer";
  EXPECT_EQ(with(list_of(stranger_.private_key(), family_.certificate(), certificates_[0])),
            "revocation")
      << "with a signature of another issuer";
  EXPECT_EQ(with(Bytes(9)), "revocation");
  const auto beside = [&](Bytes list) {
    return verdict_with([&](Evidence& e) {
      e.lists = {list_of(stranger_.private_key(), stranger_.certificate(), certificates_[2]),
                 std::move(list)};
    });
  };
  EXPECT_EQ(beside(list_of(key, family_.certificate(), certificates_[0])), "")
      << "lists of others are passed over";
  EXPECT_EQ(beside(list_of(key, family_.certificate(), certificates_[2])), "revocation");
}

TEST_F(VerifyTest, AGenerationThatIsTooLowIsRejected) {
  EXPECT_EQ(verdict_with([](Evidence& e) { e.least_generation = 3; }), "");
  EXPECT_EQ(verdict_with([](Evidence& e) { e.least_generation = 4; }), "generation");
}

TEST_F(VerifyTest, ALiveProofIsOverTheNonceAndByTheKey) {
  prove_live();
  EXPECT_EQ(verdict(), "");
  EXPECT_EQ(verdict_with([](Evidence& e) { e.live->nonce[3] ^= std::byte{1}; }), "live")
      << "an answer to an old nonce";
  EXPECT_EQ(verdict_with([](Evidence& e) { e.live->nonce.clear(); }), "live");
  EXPECT_EQ(verdict_with([](Evidence& e) { std::swap(e.live->lineage, e.live->generation); }),
            "live");
  for (std::size_t i = 0; i < evidence_.live->lineage.attest.size(); i += 3)
    EXPECT_EQ(verdict_with([&](Evidence& e) { e.live->lineage.attest[i] ^= std::byte{1}; }),
              "live");
  for (std::size_t i = 0; i < evidence_.live->generation.signature.size(); i += 3)
    EXPECT_EQ(verdict_with([&](Evidence& e) { e.live->generation.signature[i] ^= std::byte{1}; }),
              "live");
  // Signed by the right key, and of other things.
  const Standing now = must(replay(log_));
  EXPECT_EQ(verdict_with([&](Evidence& e) {
              e.live->lineage = certified(must(lineage_name()), filled(1), nonce_);
            }),
            "live")
      << "a TPM whose lineage has moved";
  EXPECT_EQ(verdict_with([&](Evidence& e) {
              e.live->lineage = certified(Bytes(34, std::byte{7}), now.lineage, nonce_);
            }),
            "live")
      << "an index of the guest's own";
  EXPECT_EQ(verdict_with([&](Evidence& e) {
              store_be16(e.live->lineage.attest.data() + 4, 0x8018);  // a quote
              e.live->lineage.signature = signature_over(e.live->lineage.attest);
            }),
            "live");
}

TEST_F(VerifyTest, OnlyAnAttestationKeyProvesLife) {
  prove_live();
  const auto& form = testing::kForms[4];
  KeySubject subject{.device = uuid(3), .model = "model"};
  const Standing now = must(replay(log_));
  subject.descent.lineage = now.lineage;
  subject.descent.generation = now.generation;
  const Bytes endorsement = must(family_.certify_endorsement_key(
      testing::tpmt_public(form, testing::generate(form)), subject));
  EXPECT_EQ(verdict_with([&](Evidence& e) { e.certificate = endorsement; }), "live");
  EXPECT_EQ(verdict_with([&](Evidence& e) {
              e.certificate = endorsement;
              e.live.reset();
            }),
            "");
}

TEST(Pem, FilesOfPeopleAreReadStrictly) {
  const Bytes root = must(Authority::create()).root();
  const std::string pem = must(to_pem(root));
  const auto content = read_pem("subject: somebody\n" + pem + pem);
  ASSERT_TRUE(content) << content.error().message;
  EXPECT_EQ(content->certificates, (std::vector<Bytes>{root, root}));
  EXPECT_TRUE(content->lists.empty());
  EXPECT_FALSE(read_pem(""));
  EXPECT_FALSE(read_pem("nothing"));
  EXPECT_FALSE(read_pem(pem.substr(0, pem.size() - 30)));
  EXPECT_FALSE(read_pem(pem + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"));
  EXPECT_FALSE(read_pem(std::string(2'000'000, 'x')));
  EXPECT_FALSE(to_pem(Bytes(3)));
}

}  // namespace
}  // namespace vtpm::identity
