// SPDX-License-Identifier: Apache-2.0
// Failure mode: who answers for a device that has failed. It has no engine, no journal and no state
// of the device; all that it can show of it is that it has failed.
//
// Source: TPM 2.0 Library, Part 1, "Failure Mode"; Part 3, TPM2_GetTestResult, TPM2_GetCapability.
#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "channel/channel.h"

namespace vtpm::worker {

// The answer of a TPM in failure mode: TPM_RC_FAILURE to everything but
//   TPM2_GetTestResult: testResult TPM_RC_FAILURE, no data;
//   TPM2_GetCapability of the properties TPM_PT_MANUFACTURER to TPM_PT_FIRMWARE_VERSION_2, which
//   tell what kind of TPM this is. They are those of libtpms.
Bytes failure_reply(ByteView command);

// Answers commands until the manager says Stop or is gone, or until another engine has taken over.
// A control channel's INIT is refused: it would be a power-on, and that is for a person to decide.
Result<void> serve_failure(channel::Channel& channel, int manager);

}  // namespace vtpm::worker
