// SPDX-License-Identifier: Apache-2.0
// The attestation key of an identity (IAK), as a TPM describes it. Pure; any thread.
//
// It signs only in a policy session in which LINEAGE and GENERATION were compared with the values
// that the key was made for: in a copy, where they have moved on, the TPM refuses.
// Sources: US 2014/0040890, paragraphs 56 to 58; TPM 2.0 Library Part 3, 23.9 (TPM2_PolicyNV).
#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "identity/event.h"
#include "identity/openssl.h"

namespace vtpm::identity {

// PolicyNV(LINEAGE = lineage), then PolicyNV(GENERATION = generation).
Result<Digest> attestation_policy(const Digest& lineage, std::uint64_t generation);
// Names of the indices (Part 1, 16), as they are when the first event has been written.
Result<Bytes> lineage_name();
Result<Bytes> generation_name();

// The public key in the TPMT_PUBLIC of a restricted signing key of P-256 with this policy, exactly
// as frame/lineage.h has it. INVALID_ARGUMENT: it is another one. The bytes come from a worker.
Result<Key> read_attestation_key(ByteView tpmt_public, const Digest& policy);

}  // namespace vtpm::identity
