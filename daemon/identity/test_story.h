// SPDX-License-Identifier: Apache-2.0
// For tests: a device with its forebears, and what a verifier is shown of them.
#pragma once

#include <openssl/ec.h>
#include <openssl/ecdsa.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "frame/lineage.h"
#include "identity/attestation_key.h"
#include "identity/authority.h"
#include "identity/test_keys.h"
#include "identity/verify.h"

namespace vtpm::identity::testing {

template <class T>
T must(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "%s\n", result.error().message.c_str());
    std::abort();
  }
  return *std::move(result);
}
inline Digest filled(std::uint8_t byte) {
  Digest digest{};
  digest.fill(std::byte{byte});
  return digest;
}
inline Uuid uuid(std::uint8_t n) {
  Uuid out;
  out.bytes.fill(std::byte{n});
  return out;
}

// A device, its clone and the clone's clone, of one host; a family beside them.
// What is said of it is true until a test changes it.
class Story {
 protected:
  Story() {
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
    evidence_.root = authority_.root();
    evidence_.issuers = {family_.certificate()};
    evidence_.certificate = certificates_.back();
    evidence_.log = to_text(log_);
  }
  Bytes certify(const Family& family, const Uuid& device, const Standing& standing) {
    Bytes area = frame::attestation_key_head(
        must(attestation_policy(standing.lineage, standing.generation)));
    Writer(area)
        .sized16(number_of(key_, OSSL_PKEY_PARAM_EC_PUB_X, 32))
        .sized16(number_of(key_, OSSL_PKEY_PARAM_EC_PUB_Y, 32));
    KeySubject subject{.device = device, .model = "model"};
    subject.descent.lineage = standing.lineage;
    subject.descent.generation = standing.generation;
    return must(family.certify_attestation_key(area, subject));
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
    if (X509_CRL_sign(list.get(), signer.get(), EVP_sha384()) <= 0) std::abort();
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
    if (EVP_PKEY_sign_init(context.get()) != 1 ||
        EVP_PKEY_sign(context.get(), reinterpret_cast<unsigned char*>(der.data()), &size,
                      raw(digest), digest.size()) != 1)
      std::abort();
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

}  // namespace vtpm::identity::testing
