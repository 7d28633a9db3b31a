// SPDX-License-Identifier: Apache-2.0
#include "worker/lineage_indices.h"

#include "frame/frame.h"
#include "frame/lineage.h"
#include "worker/own_command.h"

namespace vtpm::worker {
namespace {

Result<void> define(engine::Engine& engine, ByteView authorization, ByteView area) {
  SecretBytes parameters;
  SecretWriter(parameters).sized16(authorization).sized16(area);
  VTPM_CHECK(run_own(engine, {frame::kCcNvDefineSpace, {frame::kRhPlatform}, 1}, parameters));
  return {};
}

}  // namespace

Result<void> define_lineage(engine::Engine& engine, ByteView authorization) {
  VTPM_CHECK(define(engine, authorization,
                    frame::lineage_index_area(frame::kLineageIndex, frame::kLineageAttributes,
                                              frame::kLineageSize)));
  return define(engine, authorization,
                frame::lineage_index_area(frame::kGenerationIndex, frame::kGenerationAttributes,
                                          frame::kGenerationSize));
}

Result<void> advance_lineage(engine::Engine& engine, ByteView authorization, ByteView event_digest,
                             std::uint32_t steps) {
  Bytes data;
  Writer(data).sized16(event_digest);
  VTPM_CHECK(run_own(
      engine, {frame::kCcNvExtend, {frame::kLineageIndex, frame::kLineageIndex}, 1, authorization},
      data));
  for (std::uint32_t i = 0; i < steps; i++)
    VTPM_CHECK(run_own(engine, {frame::kCcNvIncrement,
                                {frame::kGenerationIndex, frame::kGenerationIndex},
                                1,
                                authorization}));
  return {};
}

}  // namespace vtpm::worker
