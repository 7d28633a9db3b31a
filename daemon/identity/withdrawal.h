// SPDX-License-Identifier: Apache-2.0
// Withdrawal: what is kept of a device that is gone, or lost its identity, so that revocation lists
// can name its certificates. By whose key and in whose list that is shows when a list is made: the
// family's key goes with its last member, and then it is the family that is revoked. Pure.
#pragma once

#include <vector>

#include "identity/lineage.h"
#include "identity/revocation_list.h"

namespace vtpm::identity {

struct Withdrawal {
  std::int64_t time = 0;  // seconds since 1970, UTC
  Revoked::Reason reason = Revoked::Reason::cessation_of_operation;
  Bytes family_key;                         // key identifier of the family
  CertificateId family;                     // its certificate
  std::vector<CertificateId> certificates;  // of the device's keys
  bool operator==(const Withdrawal&) const = default;
};

Result<Withdrawal> withdraw(const Lineage& lineage, Revoked::Reason reason, std::int64_t time);

// format (1) | time (8) | reason (1) | sized family key | sized issuer and serial of the family's
// certificate | number of certificates (1) | each: sized issuer, sized serial; sizes of 2 bytes.
Bytes encode(const Withdrawal& withdrawal);
// CORRUPT: encode() did not write it.
Result<Withdrawal> decode_withdrawal(ByteView bytes);

}  // namespace vtpm::identity
