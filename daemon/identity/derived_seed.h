// SPDX-License-Identifier: Apache-2.0
// The endorsement seed of a clone: derived, so that it is bound to the event that made the clone,
// and from bytes of its own, so that no secret of the family opens all of its members. Pure.
#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "base/uuid.h"
#include "identity/event.h"

namespace vtpm::identity {

inline constexpr std::size_t kSeedSize = 64;  // PRIMARY_SEED_SIZE of libtpms

// KDFa (TPM 2.0 Library Part 1, 11.4.10.2) with SHA-512, label "VTPM EPS", contextU = lineage,
// contextV = generation (8 bytes) || child, 512 bits. `fresh` are kSeedSize random bytes, made for
// this one clone; they and the seed are all that is secret.
Result<SecretBytes> derive_endorsement_seed(ByteView fresh, const Digest& lineage,
                                            std::uint64_t generation, const Uuid& child);

}  // namespace vtpm::identity
