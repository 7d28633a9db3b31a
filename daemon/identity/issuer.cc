// SPDX-License-Identifier: Apache-2.0
#include "identity/issuer.h"

#include <fmt/format.h>
#include <openssl/ec.h>
#include <openssl/pem.h>

#include <algorithm>

#include "identity/certificate.h"
#include "identity/outside_signature.h"
#include "identity/revocation_list.h"

namespace vtpm::identity {
namespace {

constexpr const char* kCurve = "P-384";
// Attribute types (ITU-T X.520).
constexpr const char* kCommonName = "2.5.4.3";
constexpr const char* kOrganization = "2.5.4.10";
constexpr const char* kRootName = "vTPM host root";

Result<SecretBytes> pkcs8(const EVP_PKEY* key) {
  const OwnedBy<PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free> info(EVP_PKEY2PKCS8(key));
  SecretBytes der = info ? to_der<SecretBytes>(info.get(), i2d_PKCS8_PRIV_KEY_INFO) : SecretBytes();
  if (der.empty()) return fail_openssl("encode the key of an issuer");
  return der;
}

// The name that tells two issuers apart, for verifiers that know both and go by names.
bool name_subject(X509* certificate, const std::string& what, const IssuerSubject& subject) {
  // Not X509_get0_subject_key_id(), which would keep what it knows of a certificate half made.
  const OwnedBy<ASN1_OCTET_STRING, ASN1_OCTET_STRING_free> id(static_cast<ASN1_OCTET_STRING*>(
      X509_get_ext_d2i(certificate, NID_subject_key_identifier, nullptr, nullptr)));
  if (!id) return false;
  const ByteView bytes(reinterpret_cast<const std::byte*>(ASN1_STRING_get0_data(id.get())),
                       static_cast<std::size_t>(ASN1_STRING_length(id.get())));
  const auto or_else = [](const std::string& wanted, const std::string& usual) {
    return wanted.empty() ? usual : wanted;
  };
  return add_attributes(
      X509_get_subject_name(certificate),
      {{kOrganization, or_else(subject.organization, "vTPM proxy")},
       {kCommonName, or_else(subject.common_name, what + " " + to_hex(bytes.first(8)))}});
}

Result<void> check_subject(const IssuerSubject& subject) {
  constexpr std::size_t kLongest = 64;  // ub-common-name, ub-organization-name
  for (const std::string& text : {subject.common_name, subject.organization})
    if (text.size() > kLongest ||
        std::ranges::any_of(text, [](unsigned char c) { return c < ' ' || c == 0x7f; }))
      return fail(ErrorCode::invalid_argument,
                  "a name of an authority is at most 64 bytes, without control characters");
  return {};
}

// All of its certificate but who signs it.
Result<Certificate> begin_issuer(EVP_PKEY* key, const std::string& what,
                                 const IssuerSubject& subject, Usage usage) {
  VTPM_CHECK(check_subject(subject));
  Certificate own(X509_new());
  X509* const certificate = own.get();
  if (certificate == nullptr || !begin_certificate(certificate) ||
      X509_set_pubkey(certificate, key) != 1 || !add_basic_constraints(certificate, true) ||
      !add_key_usage(certificate, usage) || !add_subject_key_id(certificate) ||
      !name_subject(certificate, what, subject))
    return fail_openssl("make the certificate of an issuer: is its name UTF-8?");
  return own;
}

bool may_issue(X509* own) {
  return own != nullptr && X509_check_ca(own) == 1 && X509_get0_subject_key_id(own) != nullptr;
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

Result<Issuer> Issuer::create(const std::string& what, const Issuer& above, const char* mark) {
  Issuer made;
  made.key_.reset(EVP_EC_gen(kCurve));
  if (!made.key_) return fail_openssl("make a key for an issuer");
  VTPM_TRY(Certificate own, begin_issuer(made.key_.get(), what, {}, Usage::sign_for_family));
  constexpr std::uint8_t kNull = 0x05;
  if (mark != nullptr && !add_raw_extension(own.get(), mark, der(kNull, {})))
    return fail_openssl("make the certificate of an issuer");
  VTPM_TRY(made.certificate_, above.issue(own.get()));
  made.own_.reset(own.release());
  VTPM_TRY(made.private_key_, pkcs8(made.key_.get()));
  return made;
}

Result<Issuer> Issuer::create_root(const IssuerSubject& subject, std::uint32_t days) {
  Issuer made;
  made.key_.reset(EVP_EC_gen(kCurve));
  EVP_PKEY* const key = made.key_.get();
  if (key == nullptr) return fail_openssl("make a key for an issuer");
  if (days > kMostDays)
    return fail(ErrorCode::invalid_argument,
                fmt::format("a root is for at most {} days, or without end", kMostDays));
  VTPM_TRY(Certificate own,
           begin_issuer(key, kRootName, subject, Usage::sign_certificates_and_lists));
  X509* const certificate = own.get();
  if ((days > 0 && X509_time_adj_ex(X509_getm_notAfter(certificate), static_cast<int>(days), 0,
                                    nullptr) == nullptr) ||
      X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) != 1)
    return fail_openssl("make the certificate of an issuer");
  VTPM_TRY(made.private_key_, pkcs8(key));
  VTPM_TRY(made.certificate_, made.finish(certificate, "certificate", X509_sign, i2d_X509));
  made.own_.reset(own.release());
  return made;
}

Result<SecretBytes> Issuer::new_key() {
  const Key key(EVP_EC_gen(kCurve));
  if (!key) return fail_openssl("make a key for an issuer");
  return pkcs8(key.get());
}

// What a root would say of itself is what is asked for.
Result<std::string> Issuer::request(ByteView private_key, const IssuerSubject& subject) {
  const Key key = read_private_key(private_key);
  if (!key) return fail_openssl("read the key of an issuer");
  VTPM_TRY(const Certificate wanted,
           begin_issuer(key.get(), kRootName, subject, Usage::sign_certificates_and_lists));
  const OwnedBy<X509_REQ, X509_REQ_free> request(X509_REQ_new());
  const Bio out(BIO_new(BIO_s_mem()));
  // It takes a copy of the extensions.
  auto* const extensions =
      const_cast<STACK_OF(X509_EXTENSION)*>(X509_get0_extensions(wanted.get()));
  if (!request || !out ||
      X509_REQ_set_subject_name(request.get(), X509_get_subject_name(wanted.get())) != 1 ||
      X509_REQ_set_pubkey(request.get(), key.get()) != 1 ||
      X509_REQ_add_extensions(request.get(), extensions) != 1 ||
      X509_REQ_sign(request.get(), key.get(), EVP_sha384()) <= 0 ||
      PEM_write_bio_X509_REQ(out.get(), request.get()) != 1)
    return fail_openssl("make a request for a certificate");
  return text_in(out.get());
}

Result<Issuer> Issuer::load(ByteView private_key, ByteView certificate) {
  Issuer loaded;
  loaded.key_.reset(read_private_key(private_key).release());
  loaded.own_ = from_der<decltype(loaded.own_)>(certificate, d2i_X509);
  EVP_PKEY* const key = loaded.key_.get();
  X509* const own = loaded.own_.get();
  const bool good =
      key != nullptr && may_issue(own) && X509_check_private_key(own, key) == 1 && sound(key);
  ERR_clear_error();
  if (!good)
    return fail(ErrorCode::corrupt,
                "an issuer is damaged: key and certificate are none, or do not belong together");
  loaded.private_key_ = to_secret(private_key);
  loaded.certificate_ = to_bytes(certificate);
  return loaded;
}

Result<Issuer> Issuer::outside(ByteView certificate, SignOutside sign) {
  Issuer loaded;
  loaded.own_ = from_der<decltype(loaded.own_)>(certificate, d2i_X509);
  const bool good = may_issue(loaded.own_.get());
  if (good) loaded.key_.reset(X509_get_pubkey(loaded.own_.get()));
  ERR_clear_error();
  if (!good) return fail(ErrorCode::corrupt, "the certificate of an issuer is none, or damaged");
  VTPM_CHECK(check_outside_key(loaded.key_.get()));
  loaded.certificate_ = to_bytes(certificate);
  loaded.sign_outside_ = std::move(sign);
  return loaded;
}

// The signature below what has been made, and DER of all.
template <class T, class SignWith, class Encode>
Result<Bytes> Issuer::finish(T* made, const char* what, SignWith sign_with, Encode encode) const {
  const bool here = !private_key_.empty();
  Key stand_in;
  if (!here) {
    VTPM_TRY(stand_in, stand_in_for(key_.get()));
  }
  EVP_PKEY* const key = here ? key_.get() : stand_in.get();
  if (sign_with(made, key, here ? EVP_sha384() : digest_for(key)) <= 0)
    return fail_openssl(std::string("sign a ") + what);
  Bytes der = to_der<Bytes>(made, encode);
  if (der.empty()) return fail_openssl(std::string("encode a ") + what);
  if (here) return der;
  VTPM_TRY(const Bytes id, key_id_of(certificate_));
  return sign_again(der, key_.get(), {.message = {}, .what = what, .digest = {}, .key = to_hex(id)},
                    sign_outside_);
}

bool Issuer::signed_by(const Issuer& other) const {
  const bool good = X509_verify(own_.get(), other.key_.get()) == 1;
  ERR_clear_error();
  return good;
}

bool Issuer::issued(ByteView certificate) const {
  const auto other = from_der<Certificate>(certificate, d2i_X509);
  const bool good = other && X509_check_issued(own_.get(), other.get()) == X509_V_OK &&
                    X509_verify(other.get(), key_.get()) == 1;
  ERR_clear_error();
  return good;
}

Result<Bytes> Issuer::issue(X509_crl_st* list) const {
  const OwnedBy<AUTHORITY_KEYID, AUTHORITY_KEYID_free> id = authority_key_id(own_.get());
  if (!id || X509_CRL_set_issuer_name(list, X509_get_subject_name(own_.get())) != 1 ||
      X509_CRL_add1_ext_i2d(list, NID_authority_key_identifier, id.get(), 0, X509V3_ADD_APPEND) !=
          1)
    return fail_openssl("make a revocation list");
  return finish(list, "crl", X509_CRL_sign, i2d_X509_CRL);
}

Result<Bytes> Issuer::issue(x509_st* certificate) const {
  if (X509_set_issuer_name(certificate, X509_get_subject_name(own_.get())) != 1 ||
      !add_authority_key_id(certificate, own_.get()))
    return fail_openssl("make a certificate");
  if (!lists_at_.empty()) {
    VTPM_TRY(const Bytes id, key_id_of(certificate_));
    if (!add_list_url(certificate, fmt::format("{}/{}.crl", lists_at_, to_hex(id))))
      return fail_openssl("make a certificate");
  }
  return finish(certificate, "certificate", X509_sign, i2d_X509);
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
