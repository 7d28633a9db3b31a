// SPDX-License-Identifier: Apache-2.0
// What the gate has to know of the TPM beside the frame, asked of the engine itself: a checkpoint
// does not carry what a gate has observed, and a device that was parked, or whose worker crashed,
// must refuse no more than one that was not. The commands used here have no effect.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"
#include "policy/policy.h"

namespace vtpm::worker {

// The PCR banks in force. A TPM before its Startup says nothing, and nothing is known then.
Result<void> show_pcr_banks(engine::Engine& engine, policy::Gate& gate);

// A read-only device with compat=linux-hmac, which has just been resumed: the one kind of transient
// object with a public area that its gate lets into the TPM is the null primary of Linux.
Result<void> find_null_primaries(engine::Engine& engine, policy::Gate& gate);

// The handles of transient objects that have a public area: keys, and no hash sequences.
Result<std::vector<std::uint32_t>> transient_keys(engine::Engine& engine);

}  // namespace vtpm::worker
