// SPDX-License-Identifier: Apache-2.0
// The certificates of a new identity's endorsement keys.
#pragma once

#include <vector>

#include "base/uuid.h"
#include "identity/authority.h"
#include "privsep/messages.h"

namespace vtpm::device {

// One for each key, in their order. What a worker shows is not trusted: one that is no endorsement
// key is refused, and then there is no certificate for any.
Result<std::vector<Bytes>> certify_keys(const identity::Authority& authority, const Uuid& device,
                                        const privsep::MadeKeys& made);

}  // namespace vtpm::device
