// SPDX-License-Identifier: Apache-2.0
#include "identity/family.h"

#include <fmt/format.h>

#include <algorithm>

#include "identity/attestation_key.h"
#include "identity/certificate.h"
#include "identity/chain.h"
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

bool is_branch(const x509_st* certificate) {
  const OwnedBy<ASN1_OBJECT, ASN1_OBJECT_free> type(OBJ_txt2obj(kBranchExtension, 1));
  return type && X509_get_ext_by_OBJ(certificate, type.get(), -1) >= 0;
}

bool is_branch(ByteView certificate) {
  const auto parsed = from_der<Certificate>(certificate, d2i_X509);
  return parsed && is_branch(parsed.get());
}

Result<Family> Family::branch(const std::vector<Bytes>& above) const {
  VTPM_TRY(Issuer made, Issuer::create("vTPM family branch", issuer_, kBranchExtension));
  // One below it is tried, as a path may be too long.
  VTPM_TRY(const Issuer below, Issuer::create("vTPM device", made));
  std::vector<Bytes> between = above;
  between.push_back(certificate());
  between.push_back(made.certificate());
  const auto leaf = from_der<Certificate>(below.certificate(), d2i_X509);
  const auto root = above.empty() ? Certificate() : from_der<Certificate>(above.back(), d2i_X509);
  if (!root) return fail(ErrorCode::corrupt, "there is no root above the family");
  if (const auto good = find_chain(leaf.get(), between, root.get()); !good)
    return fail(ErrorCode::failed_precondition,
                "what is above the family allows nothing below another host's part of it: " +
                    good.error().message,
                "the host's certificate needs a path length of 2 or more, or none");
  return Family(std::move(made));
}

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
