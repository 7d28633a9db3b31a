// SPDX-License-Identifier: Apache-2.0
// Manufacture: the life of a worker that makes an identity, and serves nobody.
//
// A TPM is manufactured, LINEAGE and GENERATION take their first values, its keys are made by its
// own commands, the manager certifies what it shows, the certificates go into NV. The result is a
// permanent state that was powered off in order. Nothing of it is kept here. If the order brings a
// copy of a TPM, that one is rebased (rebase.h), and all else is the same. If it brings what was
// made ahead of need, that is gone on with: its keys are there.
// Source: US 12,386,650, figure 7; Documentation/design/identity.rst.
#pragma once

#include "base/result.h"
#include "privsep/messages.h"

namespace vtpm::worker {

// The whole conversation on `manager` after `order`. The process has left the host already.
Result<void> manufacture(int manager, const privsep::Manufacture& order);

// The beginning of one that nobody has asked for yet; MakeAhead.
Result<void> make_ahead(int manager, privsep::IdentityProfile profile);

}  // namespace vtpm::worker
