// SPDX-License-Identifier: Apache-2.0
// An authority whose private key this process does not have.
#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>

#include "identity/authority.h"
#include "identity/certificate.h"
#include "identity/chain.h"
#include "identity/outside_signature.h"
#include "identity/revocation_list.h"
#include "identity/test_story.h"

namespace vtpm::identity {
namespace {

using testing::must;

Bytes signed_by(EVP_PKEY* key, ByteView message, const EVP_MD* digest) {
  const OwnedBy<EVP_MD_CTX, EVP_MD_CTX_free> context(EVP_MD_CTX_new());
  std::size_t size = 2048;
  Bytes signature(size);
  if (EVP_DigestSignInit(context.get(), nullptr, digest, nullptr, key) != 1 ||
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                     raw(message), message.size()) != 1)
    std::abort();
  signature.resize(size);
  return signature;
}

// Somebody's root, whose key is with him.
struct Root {
  explicit Root(Key own) : key(std::move(own)), made(X509_new()) {
    X509* const certificate = made.get();
    if (!begin_certificate(certificate) || X509_set_pubkey(certificate, key.get()) != 1 ||
        !add_attributes(X509_get_subject_name(certificate), {{"2.5.4.3", "somebody"}}) ||
        !add_basic_constraints(certificate, true) ||
        !add_key_usage(certificate, Usage::sign_certificates_and_lists) ||
        !add_subject_key_id(certificate) ||
        X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) != 1 ||
        X509_sign(certificate, key.get(), EVP_sha256()) <= 0)
      std::abort();
  }
  [[nodiscard]] Bytes certificate() const { return to_der<Bytes>(made.get(), i2d_X509); }
  [[nodiscard]] SignOutside sign() const {
    return [this](const SigningRequest& request) -> Result<Bytes> {
      asked.emplace_back(std::string(request.what) + " " + request.digest);
      key_asked = request.key;
      return signed_by(key.get(), request.message, EVP_get_digestbyname(request.digest.c_str()));
    };
  }
  Key key;
  Certificate made;
  mutable std::vector<std::string> asked;
  mutable std::string key_asked;
};

struct Kind {
  const char* curve;  // nullptr: RSA
  const char* digest;
};

class OutsideKeys : public ::testing::TestWithParam<Kind> {};

TEST_P(OutsideKeys, SignFamiliesAndLists) {
  const Kind kind = GetParam();
  const Root root{Key(kind.curve == nullptr ? EVP_RSA_gen(2048) : EVP_EC_gen(kind.curve))};
  const std::string digest = kind.digest;
  const Authority tried = must(Authority::outside({root.certificate()}, root.sign()));
  EXPECT_EQ(root.asked, std::vector<std::string>{"certificate " + digest}) << "a family is tried";
  const Authority authority = must(Authority::load_outside(tried.chain(), root.sign()));
  EXPECT_TRUE(authority.key_is_outside());
  EXPECT_EQ(authority.root(), root.certificate());
  const Family family = must(authority.found_family());
  EXPECT_EQ(root.key_asked, to_hex(must(key_id_of(root.certificate()))));
  EXPECT_TRUE(authority.issued(family.certificate()));
  const auto leaf = from_der<Certificate>(family.certificate(), d2i_X509);
  ASSERT_TRUE(leaf);
  EXPECT_EQ(X509_verify(leaf.get(), root.key.get()), 1);
  EXPECT_EQ(must(find_chain(leaf.get(), {}, root.made.get())).size(), 2U);

  RevocationList gone{.number = 7, .days = 1, .revoked = {}};
  for (unsigned i = 0; i < 200; i++)  // longer than any certificate
    gone.revoked.push_back({.serial = Bytes(20, static_cast<std::byte>(1 + i)), .since = 1});
  const Issuer issuer = must(Issuer::outside(root.certificate(), root.sign()));
  const Bytes der = must(issue(issuer, gone));
  EXPECT_EQ(root.asked.back(), "crl " + digest);
  const unsigned char* at = raw(der);
  const OwnedBy<X509_CRL, X509_CRL_free> list(
      d2i_X509_CRL(nullptr, &at, static_cast<long>(der.size())));
  ASSERT_TRUE(list);
  EXPECT_EQ(at, raw(der) + der.size());
  EXPECT_EQ(X509_CRL_verify(list.get(), root.key.get()), 1);
  EXPECT_EQ(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(list.get())), 200);
}
INSTANTIATE_TEST_SUITE_P(, OutsideKeys,
                         ::testing::Values(Kind{"P-256", "sha256"}, Kind{"P-384", "sha384"},
                                           Kind{"P-521", "sha512"}, Kind{nullptr, "sha256"}),
                         [](const auto& kind) {
                           return std::string(kind.param.curve == nullptr ? "Rsa" : "Ec") +
                                  kind.param.digest;
                         });

TEST(OutsideKey, WhatIsNotItsSignatureIsRefused) {
  const Root root{Key(EVP_EC_gen("P-384"))}, other{Key(EVP_EC_gen("P-384"))};
  const auto outcome = [&](const SignOutside& sign) {
    const Authority authority = must(Authority::load_outside({root.certificate()}, sign));
    const auto family = authority.found_family();
    EXPECT_EQ(ERR_peek_error(), 0U);
    return family ? "signed" : std::string(to_string(family.error().code));
  };
  const auto gives = [&](const std::function<Bytes(const SigningRequest&)>& answer) {
    return outcome([&](const SigningRequest& request) -> Result<Bytes> { return answer(request); });
  };
  EXPECT_EQ(outcome(root.sign()), "signed");
  EXPECT_EQ(outcome(other.sign()), "permission") << "another key";
  EXPECT_EQ(gives([](const auto&) { return Bytes(); }), "permission");
  EXPECT_EQ(gives([](const auto&) { return Bytes(104, std::byte{0x30}); }), "permission");
  EXPECT_EQ(gives([&](const auto& request) {
              return signed_by(root.key.get(), request.message, EVP_sha256());
            }),
            "permission")
      << "another digest";
  EXPECT_EQ(gives([&](const auto& request) {
              return signed_by(root.key.get(), request.message.subspan(1), EVP_sha384());
            }),
            "permission")
      << "something else";
  EXPECT_EQ(gives([&](const auto& request) {
              Bytes more = signed_by(root.key.get(), request.message, EVP_sha384());
              more.push_back(std::byte{'\n'});
              return more;
            }),
            "permission")
      << "something after it";
  EXPECT_EQ(outcome([](const auto&) -> Result<Bytes> { return fail(ErrorCode::unavailable, ""); }),
            "unavailable");
}

TEST(OutsideKey, WrongOnesAreRefusedAtTheImport) {
  const auto refused = [](EVP_PKEY* made) {
    const Key key(made);
    return !check_outside_key(key.get());
  };
  EXPECT_TRUE(refused(nullptr));
  EXPECT_TRUE(refused(EVP_RSA_gen(1024)));
  EXPECT_TRUE(refused(EVP_EC_gen("secp256k1")));
  EXPECT_TRUE(refused(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")));
  EXPECT_FALSE(refused(EVP_RSA_gen(2048)));
  const Root root{Key(EVP_EC_gen("P-256"))}, other{Key(EVP_EC_gen("P-256"))};
  EXPECT_FALSE(Authority::outside({}, root.sign()));
  EXPECT_FALSE(Authority::outside({Bytes(9)}, root.sign()));
  EXPECT_TRUE(root.asked.empty());
  EXPECT_FALSE(Authority::outside({root.certificate()}, other.sign()));
  EXPECT_TRUE(Authority::outside({root.certificate()}, root.sign()));
  EXPECT_FALSE(Issuer::outside(Bytes(9), root.sign()));
  // No key is no key that is outside.
  EXPECT_FALSE(Authority::load({}, {root.certificate()}));
  EXPECT_FALSE(Family::load({}, root.certificate()));
}

}  // namespace
}  // namespace vtpm::identity
