// SPDX-License-Identifier: Apache-2.0
// A command of the worker's own on its TPM, beside those of clients: as firmware, as a
// manufacturer, or to look.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "base/bytes.h"
#include "base/result.h"
#include "engine/engine.h"

namespace vtpm::worker {

struct OwnCommand {
  std::uint32_t code = 0;
  std::initializer_list<std::uint32_t> handles{};
  std::size_t authorized = 0;  // so many of the handles, by `password`
  ByteView password{};
};

SecretBytes own_frame(const OwnCommand& command, ByteView parameters = {});

// The reply's bytes after its header; the view is valid until the engine's next command. A response
// code other than TPM_RC_SUCCESS is an error that names it.
Result<ByteView> run_own(engine::Engine& engine, const OwnCommand& command,
                         ByteView parameters = {});

// What TPM2_GetCapability is asked for: `count` values from `property` on.
Bytes capability_parameters(std::uint32_t capability, std::uint32_t property, std::uint32_t count);
// TPM2_FlushContext.
Result<void> flush(engine::Engine& engine, std::uint32_t handle);

}  // namespace vtpm::worker
