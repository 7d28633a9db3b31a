// SPDX-License-Identifier: Apache-2.0
// The primary keys of a new identity, as every tool expects to find them.
//
// Sources: TCG EK Credential Profile for TPM Family 2.0, 2.5, annex B (templates L-1, L-2, H-1 to
// H-3 and the indices of their certificates); TCG TPM v2.0 Provisioning Guidance, 7.5.1 (the
// storage root key); TCG Registry of Reserved TPM 2.0 Handles.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "privsep/messages.h"

namespace vtpm::worker {

struct KeyTemplate {
  std::uint32_t hierarchy = 0;
  std::uint32_t persistent = 0;         // handle; 0: not kept, whoever needs it makes it again
  std::uint32_t certificate_index = 0;  // NV; 0: no certificate
  Bytes public_area;                    // TPMT_PUBLIC, to be filled by TPM2_CreatePrimary
};

// Endorsement keys first, the storage root key last.
// The attestation key comes between: it signs by `policy` alone.
std::vector<KeyTemplate> key_templates(privsep::IdentityProfile profile, ByteView policy);

}  // namespace vtpm::worker
