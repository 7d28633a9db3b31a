// SPDX-License-Identifier: Apache-2.0
// What a platform's firmware does to its TPM after Startup, for devices that have no firmware.
#pragma once

#include "base/result.h"
#include "engine/engine.h"

namespace vtpm::worker {

// Gives the platform hierarchy a random authorization that is kept nowhere and switches it off
// until the next reset. Without this, root inside a container could re-seed the endorsement
// hierarchy (TPM2_ChangeEPS) with the empty platform authorization. Whether it is done depends on
// the kind of device alone, never on whether the authorization is still empty: a client could have
// set it first.
Result<void> close_platform_hierarchy(engine::Engine& engine);

}  // namespace vtpm::worker
