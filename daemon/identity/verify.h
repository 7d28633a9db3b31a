// SPDX-License-Identifier: Apache-2.0
// Verify: whether what is said of a device's descent is true, for somebody who trusts the root of a
// host and nothing else. Everything but the root and the nonce may come from an attacker. Pure, but
// for the time of day.
//
// What it shows and what not: Documentation/design/identity.rst.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "identity/descent.h"

namespace vtpm::identity {

// What TPM2_NV_Certify gave, as TPMS_ATTEST and TPMT_SIGNATURE.
struct CertifiedIndex {
  Bytes attest, signature;
};
struct LiveProof {
  Bytes nonce;  // what the verifier asked with: qualifyingData
  CertifiedIndex lineage, generation;
};

struct Evidence {
  Bytes root;                  // DER; trusted
  std::vector<Bytes> issuers;  // DER, in any order: what is between root and certificate
  Bytes certificate;  // DER: of an endorsement key or, for a live proof, of the attestation key
  std::string log;    // of the device, as to_text() writes it
  std::vector<Bytes> kin;  // DER: certificates of other devices that are to be of the same family
  std::vector<Bytes>
      lists;  // DER: revocation lists, at least one of them of an issuer in the chain
  std::uint64_t least_generation = 0;
  std::optional<LiveProof> live;
};

// In this order; the first one that fails ends it.
enum class Step : std::uint8_t { chain = 1, revocation, log, family, generation, live };

struct Verified {
  Uuid device;
  Descent descent;
  std::size_t events = 0;
};
struct Rejected {
  Step step = Step::chain;
  std::string why;
};

tl::expected<Verified, Rejected> verify(const Evidence& evidence);

std::string_view to_string(Step step);

}  // namespace vtpm::identity
