// SPDX-License-Identifier: Apache-2.0
// Family: a device and all that descends from it by cloning. Its key certifies the endorsement and
// attestation keys of every member, and signs what happens to them: that is what shows that one is
// a clone of another. No I/O: who owns one keeps its key. Const calls from one thread at a time.
//
// Certificates of endorsement keys are as the TCG EK Credential Profile for TPM Family 2.0 (2.5,
// section 3.2) says, and have no end, as the keys have none.
// Source: US 2014/0040890, paragraph 58 (the master key and the master certificate).
#pragma once

#include <string>
#include <vector>

#include "identity/descent.h"
#include "identity/event.h"
#include "identity/issuer.h"

namespace vtpm::identity {

enum class Usage : std::uint8_t;

// In the certificate of a branch: the family's key on another host than the one that founded it. An
// OID of a random UUID, ITU-T X.667; the value is NULL.
inline constexpr const char* kBranchExtension = "2.25.337407117947313336983616506389045093271";
bool is_branch(const x509_st* certificate);
// The same of DER.
bool is_branch(ByteView certificate);

// Whose key it is, as TPM2_GetCapability(TPM_CAP_TPM_PROPERTIES) answers. From a worker: not
// trusted.
struct KeySubject {
  Uuid device;
  std::uint32_t manufacturer = 0;      // TPM_PT_MANUFACTURER
  std::string model;                   // TPM_PT_VENDOR_STRING_1 to 4, without blanks at its ends
  std::uint32_t firmware_version = 0;  // TPM_PT_FIRMWARE_VERSION_1
  std::uint32_t spec_level = 0;        // TPM_PT_LEVEL
  std::uint32_t spec_revision = 0;     // TPM_PT_REVISION
  Descent descent{};                   // not of the worker: what this host knows
};

class Family {
 public:
  explicit Family(Issuer issuer) : issuer_(std::move(issuer)) {}
  // From what private_key() and certificate() gave.
  static Result<Family> load(ByteView private_key, ByteView certificate);

  [[nodiscard]] const SecretBytes& private_key() const { return issuer_.private_key(); }
  [[nodiscard]] const Bytes& certificate() const { return issuer_.certificate(); }

  // A certificate, DER, of at most 1280 bytes, for the key in a TPMT_PUBLIC. INVALID_ARGUMENT: that
  // is no endorsement key (endorsement_key.h), or the subject is none.
  [[nodiscard]] Result<Bytes> certify_endorsement_key(ByteView tpmt_public,
                                                      const KeySubject& subject) const;
  // The same for the attestation key of the identity, bound to the lineage and the generation of
  // the subject's descent (attestation_key.h).
  [[nodiscard]] Result<Bytes> certify_attestation_key(ByteView tpmt_public,
                                                      const KeySubject& subject) const;
  [[nodiscard]] Result<SignedEvent> sign(const Event& event) const;
  // The same family on another host: a key of its own, certified by this one. `above`: from what
  // certified this family up to the root, DER. FAILED_PRECONDITION: they allow no such path.
  [[nodiscard]] Result<Family> branch(const std::vector<Bytes>& above) const;
  void publish_lists_at(const std::string& base) { issuer_.publish_lists_at(base); }

 private:
  [[nodiscard]] Result<Bytes> certify(evp_pkey_st* key, Usage usage, const char* purpose,
                                      const KeySubject& subject) const;
  Issuer issuer_;
};

}  // namespace vtpm::identity
