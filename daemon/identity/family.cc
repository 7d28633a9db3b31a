// SPDX-License-Identifier: Apache-2.0
#include "identity/family.h"

#include <fmt/format.h>

#include <algorithm>

#include "identity/attestation_key.h"
#include "identity/certificate.h"
#include "identity/endorsement_key.h"

namespace vtpm::identity {
namespace {

// Attribute types (ITU-T X.520) and what the TCG registered.
constexpr const char* kSerialNumber = "2.5.4.5";
constexpr const char* kTpmManufacturer = "2.23.133.2.1";
constexpr const char* kTpmModel = "2.23.133.2.2";
constexpr const char* kTpmVersion = "2.23.133.2.3";
constexpr const char* kEkCertificate = "2.23.133.8.1";
constexpr const char* kAikCertificate = "2.23.133.8.3";

constexpr std::size_t kLongestModel = 16;  // four properties of four characters

Result<void> check_subject(const KeySubject& subject) {
  const bool printable =
      std::ranges::all_of(subject.model, [](char c) { return c >= ' ' && c <= '~'; });
  if (subject.model.empty() || subject.model.size() > kLongestModel || !printable)
    return fail(ErrorCode::invalid_argument,
                "a TPM's model is 1 to 16 printable characters of ASCII");
  return {};
}

}  // namespace

Result<Family> Family::load(ByteView private_key, ByteView certificate) {
  VTPM_TRY(Issuer issuer, Issuer::load(private_key, certificate));
  return Family(std::move(issuer));
}

Result<Bytes> Family::certify_endorsement_key(ByteView tpmt_public,
                                              const KeySubject& subject) const {
  VTPM_TRY(const Key key, read_endorsement_key(tpmt_public));
  const Usage usage =
      EVP_PKEY_is_a(key.get(), "RSA") == 1 ? Usage::key_encipherment : Usage::key_agreement;
  return certify(key.get(), usage, kEkCertificate, subject);
}

Result<Bytes> Family::certify_attestation_key(ByteView tpmt_public,
                                              const KeySubject& subject) const {
  VTPM_TRY(const Digest policy,
           attestation_policy(subject.descent.lineage, subject.descent.generation));
  VTPM_TRY(const Key key, read_attestation_key(tpmt_public, policy));
  return certify(key.get(), Usage::sign, kAikCertificate, subject);
}

Result<Bytes> Family::certify(evp_pkey_st* key, Usage usage, const char* purpose,
                              const KeySubject& subject) const {
  VTPM_CHECK(check_subject(subject));
  const Certificate made(X509_new());
  if (!made) return fail_openssl("make a certificate");
  X509* const certificate = made.get();
  const bool complete =
      begin_certificate(certificate) && X509_set_pubkey(certificate, key) == 1 &&
      add_directory_name(certificate,
                         {{kTpmManufacturer, fmt::format("id:{:08X}", subject.manufacturer)},
                          {kTpmModel, subject.model},
                          {kTpmVersion, fmt::format("id:{:08X}", subject.firmware_version)},
                          {kSerialNumber, subject.device.to_string()}}) &&
      add_basic_constraints(certificate, false) && add_key_usage(certificate, usage) &&
      add_extended_key_usage(certificate, purpose) &&
      add_tpm_specification(certificate, subject.spec_level, subject.spec_revision) &&
      add_raw_extension(certificate, kDescentExtension, encode(subject.descent));
  if (!complete) return fail_openssl("make a certificate");
  return issuer_.issue(certificate);
}

Result<SignedEvent> Family::sign(const Event& event) const {
  VTPM_TRY(Bytes signature, issuer_.sign(as_bytes(to_json(event))));
  return SignedEvent{event, std::move(signature)};
}

}  // namespace vtpm::identity
