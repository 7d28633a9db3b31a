// SPDX-License-Identifier: Apache-2.0
#include "identity/hpke.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

#include <array>
#include <utility>

#include "identity/openssl.h"

namespace vtpm::identity {
namespace {

using Cipher = OwnedBy<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;

constexpr std::uint16_t kKem = 0x0011, kKdf = 0x0002, kAead = 0x0002;
constexpr std::size_t kHash = 48, kKey = 32, kNonce = 12;
constexpr const char* kCurve = "P-384";

SecretBytes joined(std::initializer_list<ByteView> parts) {
  SecretBytes out;
  SecretWriter writer(out);
  for (const ByteView part : parts) writer.bytes(part);
  return out;
}

Bytes suite_of_kem() {
  Bytes out;
  Writer(out).bytes(as_bytes("KEM")).u16(kKem);
  return out;
}
Bytes suite_of_hpke() {
  Bytes out;
  Writer(out).bytes(as_bytes("HPKE")).u16(kKem).u16(kKdf).u16(kAead);
  return out;
}

Result<SecretBytes> hmac(ByteView key, ByteView message) {
  SecretBytes out(kHash);
  unsigned size = 0;
  static constexpr unsigned char kEmpty = 0;  // no key is a key of no bytes
  if (HMAC(EVP_sha384(), key.empty() ? &kEmpty : raw(key), static_cast<int>(key.size()),
           raw(message), message.size(), reinterpret_cast<unsigned char*>(out.data()),
           &size) == nullptr ||
      size != kHash)
    return fail_openssl("compute an HMAC");
  return out;
}

// RFC 9180, section 4.
Result<SecretBytes> labeled_extract(const Bytes& suite, ByteView salt, std::string_view label,
                                    ByteView input) {
  return hmac(salt, joined({as_bytes("HPKE-v1"), suite, as_bytes(label), input}));
}
// Of at most one block of HKDF.
Result<SecretBytes> labeled_expand(const Bytes& suite, ByteView key, std::string_view label,
                                   ByteView info, std::uint16_t size) {
  Bytes length;
  Writer(length).u16(size);
  static constexpr std::array kFirstBlock{std::byte{1}};
  VTPM_TRY(
      SecretBytes block,
      hmac(key, joined({length, as_bytes("HPKE-v1"), suite, as_bytes(label), info, kFirstBlock})));
  block.resize(size);
  return block;
}

Result<Bytes> point_of(const EVP_PKEY* key) {
  Bytes point(kHpkeEnc);
  std::size_t size = 0;
  if (EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY,
                                      reinterpret_cast<unsigned char*>(point.data()), point.size(),
                                      &size) != 1 ||
      size != kHpkeEnc || point[0] != std::byte{4})
    return fail_openssl("read a public key of P-384");
  return point;
}

// INVALID_ARGUMENT: it is no point of the curve.
Result<Key> key_of(ByteView point) {
  const auto refused = [] {
    ERR_clear_error();
    return fail(ErrorCode::invalid_argument, "this is no public key of P-384");
  };
  if (point.size() != kHpkeEnc || point[0] != std::byte{4}) return refused();
  std::string curve = kCurve;
  Bytes copy = to_bytes(point);
  const std::array<OSSL_PARAM, 3> parameters{
      OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, curve.data(), 0),
      OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, copy.data(), copy.size()),
      OSSL_PARAM_construct_end()};
  const KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* made = nullptr;
  if (!context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &made, EVP_PKEY_PUBLIC_KEY,
                        const_cast<OSSL_PARAM*>(parameters.data())) != 1)
    return refused();
  Key key(made);
  const KeyContext checking(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  if (!checking || EVP_PKEY_public_check(checking.get()) != 1) return refused();
  return key;
}

Result<SecretBytes> agree(EVP_PKEY* own, EVP_PKEY* other) {
  const KeyContext context(EVP_PKEY_CTX_new_from_pkey(nullptr, own, nullptr));
  SecretBytes secret(kHash);
  std::size_t size = secret.size();
  if (!context || EVP_PKEY_derive_init(context.get()) != 1 ||
      EVP_PKEY_derive_set_peer(context.get(), other) != 1 ||
      EVP_PKEY_derive(context.get(), reinterpret_cast<unsigned char*>(secret.data()), &size) != 1 ||
      size != kHash)
    return fail_openssl("agree on a key");
  return secret;
}

struct Schedule {
  SecretBytes key, nonce;
};

// Sections 4.1 (ExtractAndExpand) and 5.1 (KeySchedule, mode_base).
Result<Schedule> schedule(ByteView dh, ByteView enc, ByteView recipient, std::string_view info) {
  const Bytes kem = suite_of_kem(), hpke = suite_of_hpke();
  VTPM_TRY(const SecretBytes eae, labeled_extract(kem, {}, "eae_prk", dh));
  VTPM_TRY(const SecretBytes shared,
           labeled_expand(kem, eae, "shared_secret", joined({enc, recipient}), kHash));
  VTPM_TRY(const SecretBytes psk_id, labeled_extract(hpke, {}, "psk_id_hash", {}));
  VTPM_TRY(const SecretBytes info_hash, labeled_extract(hpke, {}, "info_hash", as_bytes(info)));
  static constexpr std::array kBase{std::byte{0}};
  const SecretBytes context = joined({kBase, psk_id, info_hash});
  VTPM_TRY(const SecretBytes secret, labeled_extract(hpke, shared, "secret", {}));
  Schedule out;
  VTPM_TRY(out.key, labeled_expand(hpke, secret, "key", context, kKey));
  VTPM_TRY(out.nonce, labeled_expand(hpke, secret, "base_nonce", context, kNonce));
  return out;
}

unsigned char* at(Bytes& bytes, std::size_t offset) {
  return reinterpret_cast<unsigned char*>(bytes.data() + offset);
}

}  // namespace

Result<SecretBytes> make_exchange_key() {
  const Key key(EVP_EC_gen(kCurve));
  const OwnedBy<PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free> info(key ? EVP_PKEY2PKCS8(key.get())
                                                                        : nullptr);
  SecretBytes der = info ? to_der<SecretBytes>(info.get(), i2d_PKCS8_PRIV_KEY_INFO) : SecretBytes();
  if (der.empty()) return fail_openssl("make a key for what is sealed to this host");
  return der;
}

Result<Bytes> exchange_public_key(ByteView private_key) {
  const Key key = read_private_key(private_key);
  if (!key) return fail_openssl("read the key for what is sealed to this host");
  return point_of(key.get());
}

Result<std::string> exchange_key_to_pem(ByteView point) {
  VTPM_TRY(const Key key, key_of(point));
  const Bio out(BIO_new(BIO_s_mem()));
  if (!out || PEM_write_bio_PUBKEY(out.get(), key.get()) != 1)
    return fail_openssl("write a public key as PEM");
  return text_in(out.get());
}

Result<Bytes> exchange_key_from_pem(std::string_view pem) {
  constexpr std::size_t kLongest = 4096;
  const Bio in(pem.size() > kLongest ? nullptr
                                     : BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  const Key key(in ? PEM_read_bio_PUBKEY(in.get(), nullptr, nullptr, nullptr) : nullptr);
  auto point = key ? point_of(key.get()) : Result<Bytes>(Bytes{});
  ERR_clear_error();
  if (!point || !key_of(*point))
    return fail(ErrorCode::invalid_argument,
                "this is no recipient's key: a public key of P-384, PEM",
                "'vtpmctl host-key recipient' on the other host gives it");
  return point;
}

Result<Bytes> hpke_seal(ByteView recipient, std::string_view info, ByteView associated,
                        ByteView plain) {
  VTPM_TRY(const Key to, key_of(recipient));
  const Key once(EVP_EC_gen(kCurve));
  if (!once) return fail_openssl("make a key");
  VTPM_TRY(const Bytes enc, point_of(once.get()));
  VTPM_TRY(const SecretBytes dh, agree(once.get(), to.get()));
  VTPM_TRY(const Schedule keys, schedule(dh, enc, recipient, info));
  Bytes out = enc;
  out.resize(kHpkeEnc + plain.size() + kHpkeTag);
  const Cipher cipher(EVP_CIPHER_CTX_new());
  int size = 0;
  if (!cipher ||
      EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, raw(keys.key),
                         raw(keys.nonce)) != 1 ||
      EVP_EncryptUpdate(cipher.get(), nullptr, &size, raw(associated),
                        static_cast<int>(associated.size())) != 1 ||
      EVP_EncryptUpdate(cipher.get(), at(out, kHpkeEnc), &size, raw(plain),
                        static_cast<int>(plain.size())) != 1 ||
      EVP_EncryptFinal_ex(cipher.get(), at(out, out.size() - kHpkeTag), &size) != 1 ||
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kHpkeTag,
                          at(out, out.size() - kHpkeTag)) != 1)
    return fail_openssl("seal");
  return out;
}

Result<SecretBytes> hpke_open(ByteView private_key, std::string_view info, ByteView associated,
                              ByteView sealed) {
  const auto refused = [] {
    ERR_clear_error();
    return fail(ErrorCode::corrupt, "it was sealed to another host's key, or was changed");
  };
  if (sealed.size() < kHpkeEnc + kHpkeTag) return refused();
  const Key own = read_private_key(private_key);
  if (!own) return fail_openssl("read the key for what is sealed to this host");
  const ByteView enc = sealed.first(kHpkeEnc);
  const auto other = key_of(enc);
  if (!other) return refused();
  VTPM_TRY(const Bytes recipient, point_of(own.get()));
  VTPM_TRY(const SecretBytes dh, agree(own.get(), other->get()));
  VTPM_TRY(const Schedule keys, schedule(dh, enc, recipient, info));
  const ByteView text = sealed.subspan(kHpkeEnc, sealed.size() - kHpkeEnc - kHpkeTag);
  Bytes tag = to_bytes(sealed.last(kHpkeTag));
  SecretBytes plain(text.size() + 1);  // one more, so that there is a place for it if it is empty
  const Cipher cipher(EVP_CIPHER_CTX_new());
  auto* const to = reinterpret_cast<unsigned char*>(plain.data());
  int size = 0;
  if (!cipher ||
      EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, raw(keys.key),
                         raw(keys.nonce)) != 1 ||
      EVP_DecryptUpdate(cipher.get(), nullptr, &size, raw(associated),
                        static_cast<int>(associated.size())) != 1 ||
      EVP_DecryptUpdate(cipher.get(), to, &size, raw(text), static_cast<int>(text.size())) != 1 ||
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kHpkeTag, tag.data()) != 1 ||
      EVP_DecryptFinal_ex(cipher.get(), to + text.size(), &size) != 1)
    return refused();
  plain.resize(text.size());
  return plain;
}

}  // namespace vtpm::identity
