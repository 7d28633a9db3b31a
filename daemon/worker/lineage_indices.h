// SPDX-License-Identifier: Apache-2.0
// LINEAGE and GENERATION: the NV indices in which a TPM keeps its descent (frame/lineage.h).
#pragma once

#include "base/result.h"
#include "engine/engine.h"

namespace vtpm::worker {

// Makes both, LINEAGE all zeros and GENERATION not counted yet. `authorization` is what writes them
// from here on. The platform hierarchy is open and has the empty authorization: a TPM in the
// making.
Result<void> define_lineage(engine::Engine& engine, ByteView authorization);

// One event: LINEAGE is extended by its digest, GENERATION goes up by `steps`. The platform
// hierarchy has no part in it. An error after the first of the two leaves them apart: such a state
// is not for use.
Result<void> advance_lineage(engine::Engine& engine, ByteView authorization, ByteView event_digest,
                             std::uint32_t steps = 1);

}  // namespace vtpm::worker
