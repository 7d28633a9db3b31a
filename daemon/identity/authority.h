// SPDX-License-Identifier: Apache-2.0
// Authority: the certificate authority of a host. Its root certificate is what verifiers are given;
// it certifies the endorsement keys of the host's devices. No I/O: who owns one keeps its key.
//
// Certificates are X.509v3 (RFC 5280), signed with ECDSA over P-384 and SHA-384. Those of
// endorsement keys are as the TCG EK Credential Profile for TPM Family 2.0 (2.5, section 3.2) says,
// and have no end, as the keys have none. Const calls from one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "base/uuid.h"

struct evp_pkey_st;
struct x509_st;

namespace vtpm::identity {

// Whose key it is, as TPM2_GetCapability(TPM_CAP_TPM_PROPERTIES) answers. From a worker: not
// trusted.
struct EkSubject {
  Uuid device;
  std::uint32_t manufacturer = 0;      // TPM_PT_MANUFACTURER
  std::string model;                   // TPM_PT_VENDOR_STRING_1 to 4, without blanks at its ends
  std::uint32_t firmware_version = 0;  // TPM_PT_FIRMWARE_VERSION_1
  std::uint32_t spec_level = 0;        // TPM_PT_LEVEL
  std::uint32_t spec_revision = 0;     // TPM_PT_REVISION
};

class Authority {
 public:
  // A new root: a key of its own and a certificate that it signs itself.
  static Result<Authority> create();
  // From what private_key() and certificate() gave. CORRUPT: they are none, or do not belong
  // together.
  static Result<Authority> load(ByteView private_key, ByteView certificate);
  Authority(Authority&&) noexcept;
  Authority& operator=(Authority&&) noexcept;
  ~Authority();

  [[nodiscard]] SecretBytes private_key() const { return private_key_; }  // DER, PKCS #8
  [[nodiscard]] Bytes certificate() const { return certificate_; }        // DER

  // A certificate, DER, of at most 1100 bytes, for the endorsement key in a TPMT_PUBLIC.
  // INVALID_ARGUMENT: that is no endorsement key (endorsement_key.h), or the subject is none.
  [[nodiscard]] Result<Bytes> certify_endorsement_key(ByteView tpmt_public,
                                                      const EkSubject& subject) const;
  // How many it gave since it was made or loaded.
  [[nodiscard]] std::uint64_t certified() const { return certified_; }

 private:
  struct Freed {
    void operator()(evp_pkey_st* key) const;
    void operator()(x509_st* certificate) const;
  };
  Authority() = default;

  SecretBytes private_key_;
  Bytes certificate_;
  mutable std::uint64_t certified_ = 0;
  std::unique_ptr<evp_pkey_st, Freed> key_;
  std::unique_ptr<x509_st, Freed> root_;
};

}  // namespace vtpm::identity
