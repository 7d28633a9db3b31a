// SPDX-License-Identifier: Apache-2.0
// A true lineage is accepted; each false one is rejected, at the step that it fails.
#include "identity/verify.h"

#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>

#include "frame/lineage.h"
#include "identity/attestation_key.h"
#include "identity/authority.h"
#include "identity/pem.h"
#include "identity/test_keys.h"

namespace vtpm::identity {
namespace {

template <class T>
T must(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().message;
    std::abort();
  }
  return *std::move(result);
}
Digest filled(std::uint8_t byte) {
  Digest digest{};
  digest.fill(std::byte{byte});
  return digest;
}
Uuid uuid(std::uint8_t n) {
  Uuid out;
  out.bytes.fill(std::byte{n});
  return out;
}

// A device, its clone and the clone's clone, of one host; a family beside them.
class VerifyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (std::uint8_t n = 1; n <= 3; n++) {
      Event event{.kind = n == 1 ? EventKind::create : EventKind::clone,
                  .device = uuid(n),
                  .generation = n,
                  .time = 1'763'805'600 + n,
                  .random = filled(n)};
      if (n > 1) event.parent = uuid(static_cast<std::uint8_t>(n - 1));
      if (n > 1) event.parent_lineage = must(replay(log_)).lineage;
      log_.push_back(must(family_.sign(event)));
      certificates_.push_back(certify(family_, uuid(n), must(replay(log_))));
    }
    evidence_.root = authority_.certificate();
    evidence_.family = family_.certificate();
    evidence_.certificate = certificates_.back();
    evidence_.log = to_text(log_);
  }
  Bytes certify(const Family& family, const Uuid& device, const Standing& standing) {
    Bytes area = frame::attestation_key_head(
        must(attestation_policy(standing.lineage, standing.generation)));
    Writer(area)
        .sized16(testing::number_of(key_, OSSL_PKEY_PARAM_EC_PUB_X, 32))
        .sized16(testing::number_of(key_, OSSL_PKEY_PARAM_EC_PUB_Y, 32));
    KeySubject subject{.device = device, .model = "model"};
    subject.descent.lineage = standing.lineage;
    subject.descent.generation = standing.generation;
    return must(family.certify_attestation_key(area, subject));
  }
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

  // A revocation list of `issuer`, with the serial number of one certificate.
  static Bytes list_of(const SecretBytes& key, const Bytes& certificate, const Bytes& revoked,
                       long seconds = 3600) {
    const auto info = from_der<OwnedBy<PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free>>(
        key, d2i_PKCS8_PRIV_KEY_INFO);
    const Key signer(EVP_PKCS82PKEY(info.get()));
    const auto issuer = from_der<Certificate>(certificate, d2i_X509);
    const auto gone = from_der<Certificate>(revoked, d2i_X509);
    const OwnedBy<X509_CRL, X509_CRL_free> list(X509_CRL_new());
    const OwnedBy<ASN1_TIME, ASN1_TIME_free> now(X509_gmtime_adj(nullptr, -60));
    const OwnedBy<ASN1_TIME, ASN1_TIME_free> next(X509_gmtime_adj(nullptr, seconds));
    X509_CRL_set_version(list.get(), 1);
    X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(issuer.get()));
    X509_CRL_set1_lastUpdate(list.get(), now.get());
    X509_CRL_set1_nextUpdate(list.get(), next.get());
    X509_REVOKED* const entry = X509_REVOKED_new();
    X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(gone.get()));
    X509_REVOKED_set_revocationDate(entry, now.get());
    X509_CRL_add0_revoked(list.get(), entry);
    EXPECT_GT(X509_CRL_sign(list.get(), signer.get(), EVP_sha384()), 0);
    return to_der<Bytes>(list.get(), i2d_X509_CRL);
  }

  // What a TPM with that key gives for TPM2_NV_Certify.
  CertifiedIndex certified(const Bytes& name, ByteView value, ByteView nonce) const {
    CertifiedIndex out;
    Writer(out.attest)
        .u32(0xff544347)
        .u16(0x8014)
        .sized16(Bytes(34, std::byte{0x0b}))
        .sized16(nonce)
        .bytes(Bytes(25, std::byte{1}))
        .sized16(name)
        .u16(0)
        .sized16(value);
    out.signature = signature_over(out.attest);
    return out;
  }
  Bytes signature_over(const Bytes& attest) const {
    const Digest digest = must(sha256(attest));
    const OwnedBy<EVP_PKEY_CTX, EVP_PKEY_CTX_free> context(
        EVP_PKEY_CTX_new_from_pkey(nullptr, key_.get(), nullptr));
    Bytes der(80);
    std::size_t size = der.size();
    EXPECT_EQ(EVP_PKEY_sign_init(context.get()), 1);
    EXPECT_EQ(EVP_PKEY_sign(context.get(), reinterpret_cast<unsigned char*>(der.data()), &size,
                            raw(digest), digest.size()),
              1);
    der.resize(size);
    const auto signature = from_der<OwnedBy<ECDSA_SIG, ECDSA_SIG_free>>(der, d2i_ECDSA_SIG);
    Bytes out, r(32), s(32);
    BN_bn2binpad(ECDSA_SIG_get0_r(signature.get()), reinterpret_cast<unsigned char*>(r.data()), 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(signature.get()), reinterpret_cast<unsigned char*>(s.data()), 32);
    Writer(out).u16(0x0018).u16(0x000b).sized16(r).sized16(s);
    return out;
  }
  void prove_live() {
    const Standing now = must(replay(log_));
    Bytes counted;
    Writer(counted).u64(now.generation);
    evidence_.live = LiveProof{nonce_, certified(must(lineage_name()), now.lineage, nonce_),
                               certified(must(generation_name()), counted, nonce_)};
  }

  const Authority authority_ = must(Authority::create());
  const Family family_ = must(authority_.found_family());
  const Family stranger_ = must(authority_.found_family());
  const Key key_ = Key(EVP_EC_gen("P-256"));
  const Bytes nonce_ = Bytes(16, std::byte{0x5a});
  EventLog log_;
  std::vector<Bytes> certificates_;
  Evidence evidence_;
};

TEST_F(VerifyTest, ThreeGenerationsAreAccepted) {
  const auto verified = verify(evidence_);
  ASSERT_TRUE(verified) << verified.error().why;
  EXPECT_EQ(verified->device, uuid(3));
  EXPECT_EQ(verified->descent.generation, 3U);
  EXPECT_EQ(verified->events, 3U);
  evidence_.kin = {certificates_[0], certificates_[1]};
  evidence_.least_generation = 3;
  evidence_.lists = {
      list_of(family_.private_key(), family_.certificate(), certificates_[0]),
      list_of(authority_.private_key(), authority_.certificate(), stranger_.certificate())};
  prove_live();
  EXPECT_EQ(verdict(), "");
}

TEST_F(VerifyTest, AnotherRootOrFamilyEndsTheChain) {
  const Authority elsewhere = must(Authority::create());
  EXPECT_EQ(verdict_with([&](Evidence& e) { e.root = elsewhere.certificate(); }), "chain");
  EXPECT_EQ(verdict_with([&](Evidence& e) { e.family = stranger_.certificate(); }), "chain");
  EXPECT_EQ(verdict_with([&](Evidence& e) { e.family = authority_.certificate(); }), "chain");
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
  EXPECT_EQ(
      with(list_of(authority_.private_key(), authority_.certificate(), family_.certificate())),
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
  const Bytes root = must(Authority::create()).certificate();
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
