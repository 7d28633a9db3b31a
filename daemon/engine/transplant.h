// SPDX-License-Identifier: Apache-2.0
// Transplant: a running TPM without an identity gets one. Pure, on state blobs. Internal to
// engine/.
//
// The result is built on the manufactured state and takes over what a measured boot has left, and
// nothing else: whatever a client did to the public blank state (hierarchies off, failed
// authorizations counted) stays behind with it. The platform hierarchy is its firmware's.
// Source: US 12,386,650, figure 6; Documentation/design/read-only-mode.rst.
#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "engine/engine.h"

namespace vtpm::engine {

struct RunningState {
  SecretBytes permanent;
  SecretBytes volatile_state;
};

// `permanent` and `volatile_state` are those of a TPM that runs, in the same moment. Refused: a
// `manufactured` state without seeds of its own, and a running TPM that has such seeds already.
Result<RunningState> transplant(ByteView manufactured, ByteView permanent, ByteView volatile_state,
                                Platform platform);

}  // namespace vtpm::engine
