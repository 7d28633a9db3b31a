// SPDX-License-Identifier: Apache-2.0
#include "identity/hpke.h"

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/pem.h>

#include <array>

#include "identity/openssl.h"
#include "identity/test_story.h"

namespace vtpm::identity {
namespace {

using testing::must;

class HpkeTest : public ::testing::Test {
 protected:
  const SecretBytes key_ = must(make_exchange_key());
  const Bytes point_ = must(exchange_public_key(key_));
  const Bytes plain_ = to_bytes(as_bytes("what nobody else may read"));
  const Bytes associated_ = to_bytes(as_bytes("header"));
  [[nodiscard]] bool opens(ByteView key, std::string_view info, ByteView associated,
                           ByteView sealed) const {
    const auto opened = hpke_open(key, info, associated, sealed);
    EXPECT_EQ(ERR_peek_error(), 0U);
    return opened && std::ranges::equal(*opened, plain_);
  }
};

TEST_F(HpkeTest, OnlyTheRecipientOpensItAndOnlyAsItWas) {
  const Bytes sealed = must(hpke_seal(point_, "info", associated_, plain_));
  EXPECT_EQ(sealed.size(), kHpkeEnc + plain_.size() + kHpkeTag);
  EXPECT_TRUE(opens(key_, "info", associated_, sealed));
  EXPECT_FALSE(opens(must(make_exchange_key()), "info", associated_, sealed));
  EXPECT_FALSE(opens(key_, "inf", associated_, sealed));
  EXPECT_FALSE(opens(key_, "info", {}, sealed));
  for (std::size_t i = 0; i < sealed.size(); i++) {
    Bytes changed = sealed;
    changed[i] ^= std::byte{1};
    EXPECT_FALSE(opens(key_, "info", associated_, changed)) << i;
  }
  for (std::size_t size = 0; size < sealed.size(); size += 3)
    EXPECT_FALSE(opens(key_, "info", associated_, ByteView(sealed).first(size))) << size;
  EXPECT_NE(must(hpke_seal(point_, "info", associated_, plain_)), sealed) << "a key for each";
  const Bytes nothing = must(hpke_seal(point_, "", {}, {}));
  EXPECT_TRUE(must(hpke_open(key_, "", {}, nothing)).empty());
}

// RFC 9180 written down again, on OpenSSL's own HKDF.
class Reading {
 public:
  static Bytes hkdf(int mode, ByteView key, ByteView salt, ByteView info, std::size_t size) {
    const OwnedBy<EVP_KDF, EVP_KDF_free> kind(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
    const OwnedBy<EVP_KDF_CTX, EVP_KDF_CTX_free> context(EVP_KDF_CTX_new(kind.get()));
    std::string digest = "SHA384";
    Bytes k = to_bytes(key), s = to_bytes(salt), i = to_bytes(info), out(size);
    std::vector<OSSL_PARAM> parameters{
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, k.data(), k.size())};
    if (!s.empty())
      parameters.push_back(
          OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, s.data(), s.size()));
    if (!i.empty())
      parameters.push_back(
          OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, i.data(), i.size()));
    parameters.push_back(OSSL_PARAM_construct_end());
    EXPECT_EQ(EVP_KDF_derive(context.get(), reinterpret_cast<unsigned char*>(out.data()),
                             out.size(), parameters.data()),
              1);
    return out;
  }
  static Bytes text(std::string_view suite, std::string_view label, ByteView rest) {
    Bytes out;
    Writer(out)
        .bytes(as_bytes("HPKE-v1"))
        .bytes(as_bytes(suite))
        .bytes(as_bytes(label))
        .bytes(rest);
    return out;
  }
  static Bytes extract(std::string_view suite, ByteView salt, std::string_view label,
                       ByteView input) {
    return hkdf(EVP_KDF_HKDF_MODE_EXTRACT_ONLY, text(suite, label, input), salt, {}, 48);
  }
  static Bytes expand(std::string_view suite, ByteView key, std::string_view label, ByteView info,
                      std::uint16_t size) {
    Bytes labeled;
    Writer(labeled).u16(size).bytes(text(suite, label, info));
    return hkdf(EVP_KDF_HKDF_MODE_EXPAND_ONLY, key, {}, labeled, size);
  }
};

TEST_F(HpkeTest, IsRfc9180) {
  const Bytes sealed = must(hpke_seal(point_, "info", associated_, plain_));
  const ByteView enc = ByteView(sealed).first(kHpkeEnc);
  // ECDH: the peer's point as SubjectPublicKeyInfo.
  const Key own = read_private_key(key_);
  const std::string pem = must(exchange_key_to_pem(enc));
  const OwnedBy<BIO, BIO_free_all> in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  const Key peer(PEM_read_bio_PUBKEY(in.get(), nullptr, nullptr, nullptr));
  const KeyContext agreeing(EVP_PKEY_CTX_new_from_pkey(nullptr, own.get(), nullptr));
  Bytes dh(48);
  std::size_t size = dh.size();
  ASSERT_EQ(EVP_PKEY_derive_init(agreeing.get()), 1);
  ASSERT_EQ(EVP_PKEY_derive_set_peer(agreeing.get(), peer.get()), 1);
  ASSERT_EQ(EVP_PKEY_derive(agreeing.get(), reinterpret_cast<unsigned char*>(dh.data()), &size), 1);

  const std::string kem("KEM\x00\x11", 5), hpke("HPKE\x00\x11\x00\x02\x00\x02", 10);
  Bytes kem_context, context{std::byte{0}};
  Writer(kem_context).bytes(enc).bytes(point_);
  const Bytes shared = Reading::expand(kem, Reading::extract(kem, {}, "eae_prk", dh),
                                       "shared_secret", kem_context, 48);
  Writer(context)
      .bytes(Reading::extract(hpke, {}, "psk_id_hash", {}))
      .bytes(Reading::extract(hpke, {}, "info_hash", as_bytes("info")));
  const Bytes secret = Reading::extract(hpke, shared, "secret", {});
  const Bytes key = Reading::expand(hpke, secret, "key", context, 32);
  const Bytes nonce = Reading::expand(hpke, secret, "base_nonce", context, 12);
  const OwnedBy<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free> cipher(EVP_CIPHER_CTX_new());
  Bytes again(plain_.size() + kHpkeTag);
  auto* const to = reinterpret_cast<unsigned char*>(again.data());
  int done = 0;
  ASSERT_EQ(EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, raw(key), raw(nonce)), 1);
  ASSERT_EQ(EVP_EncryptUpdate(cipher.get(), nullptr, &done, raw(associated_),
                              static_cast<int>(associated_.size())),
            1);
  ASSERT_EQ(
      EVP_EncryptUpdate(cipher.get(), to, &done, raw(plain_), static_cast<int>(plain_.size())), 1);
  ASSERT_EQ(EVP_EncryptFinal_ex(cipher.get(), to + done, &done), 1);
  ASSERT_EQ(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kHpkeTag, to + plain_.size()),
            1);
  EXPECT_TRUE(std::ranges::equal(again, ByteView(sealed).subspan(kHpkeEnc)));
}

TEST_F(HpkeTest, KeysOfPeopleAreReadStrictly) {
  const std::string pem = must(exchange_key_to_pem(point_));
  EXPECT_EQ(must(exchange_key_from_pem(pem)), point_);
  EXPECT_FALSE(exchange_key_from_pem(""));
  EXPECT_FALSE(exchange_key_from_pem(std::string(5000, 'a')));
  EXPECT_FALSE(exchange_key_from_pem(pem.substr(0, 100)));
  const Key other(EVP_EC_gen("P-256"));
  const OwnedBy<BIO, BIO_free_all> out(BIO_new(BIO_s_mem()));
  PEM_write_bio_PUBKEY(out.get(), other.get());
  char* text = nullptr;
  const long size = BIO_get_mem_data(out.get(), &text);
  EXPECT_FALSE(exchange_key_from_pem({text, static_cast<std::size_t>(size)}));
  Bytes off_curve = point_;
  off_curve[50] ^= std::byte{1};
  EXPECT_FALSE(hpke_seal(off_curve, "", {}, {}));
  EXPECT_FALSE(hpke_seal(Bytes(97), "", {}, {}));
  EXPECT_FALSE(hpke_seal({}, "", {}, {}));
  EXPECT_EQ(ERR_peek_error(), 0U);
}

}  // namespace
}  // namespace vtpm::identity
