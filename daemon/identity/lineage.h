// SPDX-License-Identifier: Apache-2.0
// Lineage: what a host keeps of where a device's identity comes from. A record holds it sealed
// (store/store.h): it has the key of the family, and the authorization that moves LINEAGE and
// GENERATION. The rest is public: certificates and the log.
#pragma once

#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "identity/event.h"

namespace vtpm::identity {

struct Lineage {
  SecretBytes family_key;  // as Family::load() takes it
  Bytes family_certificate;
  SecretBytes authorization;  // of the two indices, 32 bytes; a clone keeps its source's
  SecretBytes seed_bytes;     // what derive_endorsement_seed() made the seed of; empty: not derived
  // Of the endorsement keys, in their order, and of the attestation key, the last one.
  std::vector<Bytes> certificates;
  EventLog log;
  // Of a family that comes from another host: what is between its certificate and a root, and the
  // root, in this order. Empty: an authority of this host certified it.
  std::vector<Bytes> above{};
};

inline constexpr std::size_t kLineageAuthorization = 32;

SecretBytes encode(const Lineage& lineage);
// CORRUPT: encode() did not write it.
Result<Lineage> decode_lineage(ByteView bytes);

}  // namespace vtpm::identity
