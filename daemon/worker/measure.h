// SPDX-License-Identifier: Apache-2.0
// Measured boot where there is no firmware: the worker extends what the manager has been given.
#pragma once

#include <span>

#include "base/measurement.h"
#include "base/result.h"
#include "engine/engine.h"

namespace vtpm::worker {

// In this order, each into every bank that the TPM has. One that fails, fails the power-on.
Result<void> extend_measurements(engine::Engine& engine, std::span<const Measurement> measurements);

}  // namespace vtpm::worker
