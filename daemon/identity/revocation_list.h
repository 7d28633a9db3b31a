// SPDX-License-Identifier: Apache-2.0
// Revocation lists: X.509 CRLs of version 2 (RFC 5280, section 5), complete ones. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace vtpm::identity {

class Issuer;

// By what a certificate is found again: who issued it, as which number.
struct CertificateId {
  Bytes issuer_key;  // key identifier of the issuer
  Bytes serial;      // unsigned, big-endian
  bool operator==(const CertificateId&) const = default;
};
// INVALID_ARGUMENT: the certificate, DER, is none or does not say.
Result<CertificateId> id_of(ByteView certificate);
Result<Bytes> key_id_of(ByteView certificate);  // of its own key

struct Revoked {
  // CRLReason: cessationOfOperation of what was deleted, superseded of what was replaced.
  enum class Reason : std::uint8_t { superseded = 4, cessation_of_operation = 5 };
  Bytes serial;
  std::int64_t since = 0;  // seconds since 1970, UTC
  Reason reason = Reason::cessation_of_operation;
};

struct RevocationList {
  std::uint64_t number = 1;  // of an issuer's lists, each higher than the one before
  std::uint32_t days = 7;    // until when the next one is due
  std::vector<Revoked> revoked;
};

// DER; from this moment on.
Result<Bytes> issue(const Issuer& issuer, const RevocationList& list);
// RFC 7468.
Result<std::string> list_to_pem(ByteView list);

}  // namespace vtpm::identity
