// SPDX-License-Identifier: Apache-2.0
// Engine::warm_up() with a window for tests. Internal to engine/.
#pragma once

#include <functional>

#include "base/bytes.h"
#include "base/result.h"

namespace vtpm::engine {

// Sees the volatile state of the warm-up's TPM before it is wiped: the test looks for its secrets
// in memory afterwards. Empty in production.
using WarmUpObserver = std::function<void(ByteView volatile_state)>;

Result<void> warm_up_observed(const WarmUpObserver& observer);

// True in a process that was warmed up, and in those that it forked since: TPM2_SelfTest has
// tested all of libtpms there.
bool is_self_tested();

}  // namespace vtpm::engine
