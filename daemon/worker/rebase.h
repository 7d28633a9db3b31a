// SPDX-License-Identifier: Apache-2.0
// Rebase: a copy of a TPM becomes a TPM of its own.
//
// Replaced are seed and proof of the endorsement and the platform hierarchy, with every key of them
// that was kept; the certificates of the old endorsement keys go. The storage hierarchy, NV
// indices, the owner's keys and authorizations stay as they were in the source. Sessions, saved
// contexts and PCRs end with the power of the copy, of which there is none here. Source: US
// 2014/0040890, figures 3 to 6; Documentation/design/identity.rst.
#pragma once

#include <memory>

#include "base/bytes.h"
#include "base/result.h"
#include "engine/engine.h"

namespace vtpm::worker {

// Started, with an open platform hierarchy and the empty authorization for owner and endorsement:
// endorsement keys and certificates can be made.
struct Rebased {
  std::unique_ptr<engine::Engine> tpm;
  SecretBytes owner_auth;  // for engine::close_copy(), when all is made
};

// `endorsement_seed`: the seed that it gets. `fresh_storage`: seed and proof of the storage
// hierarchy are replaced, too, and its persistent keys are gone.
Result<Rebased> rebase(ByteView copy, ByteView endorsement_seed, bool fresh_storage);

// TPM2_Startup(CLEAR) included.
Result<std::unique_ptr<engine::Engine>> power_on(ByteView permanent);

// Is there something at this persistent handle?
bool holds(engine::Engine& tpm, std::uint32_t persistent_handle);

}  // namespace vtpm::worker
