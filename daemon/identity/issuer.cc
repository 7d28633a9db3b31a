// SPDX-License-Identifier: Apache-2.0
#include "identity/issuer.h"

#include <openssl/ec.h>

#include "identity/certificate.h"

namespace vtpm::identity {
namespace {

constexpr const char* kCurve = "P-384";
// Attribute types (ITU-T X.520).
constexpr const char* kCommonName = "2.5.4.3";
constexpr const char* kOrganization = "2.5.4.10";

Result<SecretBytes> pkcs8(const EVP_PKEY* key) {
  const OwnedBy<PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free> info(EVP_PKEY2PKCS8(key));
  SecretBytes der = info ? to_der<SecretBytes>(info.get(), i2d_PKCS8_PRIV_KEY_INFO) : SecretBytes();
  if (der.empty()) return fail_openssl("encode the key of an issuer");
  return der;
}

Result<Bytes> sign_certificate(X509* certificate, EVP_PKEY* key) {
  if (X509_sign(certificate, key, EVP_sha384()) <= 0) return fail_openssl("sign a certificate");
  Bytes der = to_der<Bytes>(certificate, i2d_X509);
  if (der.empty()) return fail_openssl("encode a certificate");
  return der;
}

// Tells two issuers apart, for verifiers that know both and go by names.
bool name_subject(X509* certificate, const std::string& what) {
  // Not X509_get0_subject_key_id(), which would keep what it knows of a certificate half made.
  const OwnedBy<ASN1_OCTET_STRING, ASN1_OCTET_STRING_free> id(static_cast<ASN1_OCTET_STRING*>(
      X509_get_ext_d2i(certificate, NID_subject_key_identifier, nullptr, nullptr)));
  if (!id) return false;
  const ByteView bytes(reinterpret_cast<const std::byte*>(ASN1_STRING_get0_data(id.get())),
                       static_cast<std::size_t>(ASN1_STRING_length(id.get())));
  return add_attributes(
      X509_get_subject_name(certificate),
      {{kOrganization, "vTPM proxy"}, {kCommonName, what + " " + to_hex(bytes.first(8))}});
}

// The private part, too, belongs to the public one. X509_check_private_key() looks at the latter.
bool sound(EVP_PKEY* key) {
  const KeyContext context(EVP_PKEY_CTX_new_from_pkey(nullptr, key, nullptr));
  return EVP_PKEY_is_a(key, "EC") == 1 && context && EVP_PKEY_check(context.get()) == 1;
}

}  // namespace

void Issuer::Freed::operator()(evp_pkey_st* key) const { EVP_PKEY_free(key); }
void Issuer::Freed::operator()(x509_st* certificate) const { X509_free(certificate); }
Issuer::Issuer(Issuer&&) noexcept = default;
Issuer& Issuer::operator=(Issuer&&) noexcept = default;
Issuer::~Issuer() = default;

Result<Issuer> Issuer::create(const std::string& what, const Issuer* above) {
  Issuer made;
  made.key_.reset(EVP_EC_gen(kCurve));
  made.own_.reset(X509_new());
  EVP_PKEY* const key = made.key_.get();
  X509* const own = made.own_.get();
  if (key == nullptr || own == nullptr) return fail_openssl("make a key for an issuer");
  const bool complete = begin_certificate(own) && X509_set_pubkey(own, key) == 1 &&
                        add_basic_constraints(own, true) &&
                        add_key_usage(own, above == nullptr ? Usage::sign_certificates_and_lists
                                                            : Usage::sign_for_family) &&
                        add_subject_key_id(own) && name_subject(own, what);
  if (!complete) return fail_openssl("make the certificate of an issuer");
  if (above != nullptr) {
    VTPM_TRY(made.certificate_, above->issue(own));
  } else {
    if (X509_set_issuer_name(own, X509_get_subject_name(own)) != 1)
      return fail_openssl("make the certificate of an issuer");
    VTPM_TRY(made.certificate_, sign_certificate(own, key));
  }
  VTPM_TRY(made.private_key_, pkcs8(key));
  return made;
}

Result<Issuer> Issuer::load(ByteView private_key, ByteView certificate) {
  Issuer loaded;
  const auto info = from_der<OwnedBy<PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free>>(
      private_key, d2i_PKCS8_PRIV_KEY_INFO);
  if (info) loaded.key_.reset(EVP_PKCS82PKEY(info.get()));
  loaded.own_ = from_der<decltype(loaded.own_)>(certificate, d2i_X509);
  EVP_PKEY* const key = loaded.key_.get();
  X509* const own = loaded.own_.get();
  const bool good = key != nullptr && own != nullptr && X509_check_ca(own) == 1 &&
                    X509_get0_subject_key_id(own) != nullptr &&
                    X509_check_private_key(own, key) == 1 && sound(key);
  ERR_clear_error();
  if (!good)
    return fail(ErrorCode::corrupt,
                "an issuer is damaged: key and certificate are none, or do not belong together");
  loaded.private_key_ = to_secret(private_key);
  loaded.certificate_ = to_bytes(certificate);
  return loaded;
}

bool Issuer::signed_by(const Issuer& other) const {
  const bool good = X509_verify(own_.get(), other.key_.get()) == 1;
  ERR_clear_error();
  return good;
}

Result<Bytes> Issuer::issue(x509_st* certificate) const {
  if (X509_set_issuer_name(certificate, X509_get_subject_name(own_.get())) != 1 ||
      !add_authority_key_id(certificate, own_.get()))
    return fail_openssl("make a certificate");
  return sign_certificate(certificate, key_.get());
}

Result<Bytes> Issuer::sign(ByteView message) const {
  const OwnedBy<EVP_MD_CTX, EVP_MD_CTX_free> context(EVP_MD_CTX_new());
  std::size_t size = 0;
  Bytes signature;
  const auto sign = [&](unsigned char* to) {
    return EVP_DigestSign(context.get(), to, &size, raw(message), message.size()) == 1;
  };
  if (!context ||
      EVP_DigestSignInit(context.get(), nullptr, EVP_sha384(), nullptr, key_.get()) != 1 ||
      !sign(nullptr))
    return fail_openssl("sign");
  signature.resize(size);
  if (!sign(reinterpret_cast<unsigned char*>(signature.data()))) return fail_openssl("sign");
  signature.resize(size);
  return signature;
}

}  // namespace vtpm::identity
