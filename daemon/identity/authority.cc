// SPDX-License-Identifier: Apache-2.0
#include "identity/authority.h"

#include <fmt/format.h>
#include <openssl/ec.h>

#include <algorithm>

#include "identity/certificate.h"
#include "identity/endorsement_key.h"

namespace vtpm::identity {
namespace {

constexpr const char* kCurve = "P-384";
// Attribute types (ITU-T X.520) and what the TCG registered.
constexpr const char* kCommonName = "2.5.4.3";
constexpr const char* kSerialNumber = "2.5.4.5";
constexpr const char* kOrganization = "2.5.4.10";
constexpr const char* kTpmManufacturer = "2.23.133.2.1";
constexpr const char* kTpmModel = "2.23.133.2.2";
constexpr const char* kTpmVersion = "2.23.133.2.3";
constexpr const char* kEkCertificate = "2.23.133.8.1";

constexpr std::size_t kLongestModel = 16;  // four properties of four characters
constexpr std::size_t kLongestDer = 4096;  // of a key or certificate of ours, by far

Result<SecretBytes> pkcs8(const EVP_PKEY* key) {
  const OwnedBy<PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free> info(EVP_PKEY2PKCS8(key));
  SecretBytes der = info ? to_der<SecretBytes>(info.get(), i2d_PKCS8_PRIV_KEY_INFO) : SecretBytes();
  if (der.empty()) return fail_openssl("encode the key of the certificate authority");
  return der;
}

Result<Bytes> sign(X509* certificate, EVP_PKEY* key) {
  if (X509_sign(certificate, key, EVP_sha384()) <= 0) return fail_openssl("sign a certificate");
  Bytes der = to_der<Bytes>(certificate, i2d_X509);
  if (der.empty()) return fail_openssl("encode a certificate");
  return der;
}

// Tells the roots of two hosts apart, for verifiers that know both and go by names.
bool name_root(X509* root) {
  // Not X509_get0_subject_key_id(), which would keep what it knows of a certificate half made.
  const OwnedBy<ASN1_OCTET_STRING, ASN1_OCTET_STRING_free> id(static_cast<ASN1_OCTET_STRING*>(
      X509_get_ext_d2i(root, NID_subject_key_identifier, nullptr, nullptr)));
  if (!id) return false;
  const ByteView bytes(reinterpret_cast<const std::byte*>(ASN1_STRING_get0_data(id.get())),
                       static_cast<std::size_t>(ASN1_STRING_length(id.get())));
  X509_NAME* const name = X509_get_subject_name(root);
  return add_attributes(name, {{kOrganization, "vTPM proxy"},
                               {kCommonName, "vTPM host root " + to_hex(bytes.first(8))}}) &&
         X509_set_issuer_name(root, name) == 1;
}

// The private part, too, belongs to the public one. X509_check_private_key() looks at the latter.
bool sound(EVP_PKEY* key) {
  const KeyContext context(EVP_PKEY_CTX_new_from_pkey(nullptr, key, nullptr));
  return EVP_PKEY_is_a(key, "EC") == 1 && context && EVP_PKEY_check(context.get()) == 1;
}

// DER of one structure and nothing after it.
template <class Owner, class Decode>
Owner from_der(ByteView der, Decode decode) {
  if (der.size() > kLongestDer) return {};
  const unsigned char* at = raw(der);
  Owner structure(decode(nullptr, &at, static_cast<long>(der.size())));
  if (at != raw(der) + der.size()) structure.reset();
  return structure;
}

Result<void> check_subject(const EkSubject& subject) {
  const bool printable =
      std::ranges::all_of(subject.model, [](char c) { return c >= ' ' && c <= '~'; });
  if (subject.model.empty() || subject.model.size() > kLongestModel || !printable)
    return fail(ErrorCode::invalid_argument,
                "a TPM's model is 1 to 16 printable characters of ASCII");
  return {};
}

}  // namespace

void Authority::Freed::operator()(evp_pkey_st* key) const { EVP_PKEY_free(key); }
void Authority::Freed::operator()(x509_st* certificate) const { X509_free(certificate); }
Authority::Authority(Authority&&) noexcept = default;
Authority& Authority::operator=(Authority&&) noexcept = default;
Authority::~Authority() = default;

Result<Authority> Authority::create() {
  const Key key(EVP_EC_gen(kCurve));
  const Certificate made(X509_new());
  X509* const root = made.get();
  if (!key || root == nullptr) return fail_openssl("make a key for a certificate authority");
  const bool complete = begin_certificate(root) && X509_set_pubkey(root, key.get()) == 1 &&
                        add_basic_constraints(root, true) &&
                        add_key_usage(root, Usage::sign_certificates_and_lists) &&
                        add_subject_key_id(root) && name_root(root);
  if (!complete) return fail_openssl("make a root certificate");
  VTPM_TRY(const Bytes certificate, sign(root, key.get()));
  VTPM_TRY(const SecretBytes private_key, pkcs8(key.get()));
  return load(private_key, certificate);
}

Result<Authority> Authority::load(ByteView private_key, ByteView certificate) {
  Authority loaded;
  const auto info = from_der<OwnedBy<PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free>>(
      private_key, d2i_PKCS8_PRIV_KEY_INFO);
  if (info) loaded.key_.reset(EVP_PKCS82PKEY(info.get()));
  loaded.root_ = from_der<decltype(loaded.root_)>(certificate, d2i_X509);
  EVP_PKEY* const key = loaded.key_.get();
  X509* const root = loaded.root_.get();
  const bool good = key != nullptr && root != nullptr && X509_check_ca(root) == 1 &&
                    X509_get0_subject_key_id(root) != nullptr &&
                    X509_check_private_key(root, key) == 1 && X509_verify(root, key) == 1 &&
                    sound(key);
  ERR_clear_error();
  if (!good)
    return fail(ErrorCode::corrupt,
                "the certificate authority is damaged: key and certificate are none, or do not "
                "belong together");
  loaded.private_key_ = to_secret(private_key);
  loaded.certificate_ = to_bytes(certificate);
  return loaded;
}

Result<Bytes> Authority::certify_endorsement_key(ByteView tpmt_public,
                                                 const EkSubject& subject) const {
  VTPM_CHECK(check_subject(subject));
  VTPM_TRY(const Key key, read_endorsement_key(tpmt_public));
  const Usage usage =
      EVP_PKEY_is_a(key.get(), "RSA") == 1 ? Usage::key_encipherment : Usage::key_agreement;
  const Certificate made(X509_new());
  if (!made) return fail_openssl("make a certificate");
  X509* const certificate = made.get();
  const bool complete =
      begin_certificate(certificate) && X509_set_pubkey(certificate, key.get()) == 1 &&
      X509_set_issuer_name(certificate, X509_get_subject_name(root_.get())) == 1 &&
      add_directory_name(certificate,
                         {{kTpmManufacturer, fmt::format("id:{:08X}", subject.manufacturer)},
                          {kTpmModel, subject.model},
                          {kTpmVersion, fmt::format("id:{:08X}", subject.firmware_version)},
                          {kSerialNumber, subject.device.to_string()}}) &&
      add_basic_constraints(certificate, false) && add_key_usage(certificate, usage) &&
      add_extended_key_usage(certificate, kEkCertificate) &&
      add_tpm_specification(certificate, subject.spec_level, subject.spec_revision) &&
      add_authority_key_id(certificate, root_.get());
  if (!complete) return fail_openssl("make a certificate");
  auto signed_certificate = sign(certificate, key_.get());
  if (signed_certificate) certified_++;
  return signed_certificate;
}

}  // namespace vtpm::identity
