// SPDX-License-Identifier: Apache-2.0
#include "worker/gate_memory.h"

#include <vector>

#include "frame/frame.h"
#include "worker/own_command.h"

namespace vtpm::worker {
namespace {

constexpr std::uint32_t kFirstTransient = 0x80000000;
constexpr std::uint32_t kMany = 64;  // libtpms has room for three transient objects

SecretBytes get_capability(std::uint32_t capability, std::uint32_t property, std::uint32_t count) {
  return own_frame({frame::kCcGetCapability}, capability_parameters(capability, property, count));
}

Result<std::vector<std::uint32_t>> transient_objects(engine::Engine& engine) {
  VTPM_TRY(const ByteView reply,
           engine.process(get_capability(frame::kCapHandles, kFirstTransient, kMany), 0));
  std::vector<std::uint32_t> handles;
  if (frame::response_code(reply) != frame::kRcSuccess) return handles;
  Reader in(reply.subspan(frame::kHeaderSize));
  in.u8();   // moreData
  in.u32();  // capability
  for (std::uint32_t count = in.u32(); count > 0 && in.ok(); count--) handles.push_back(in.u32());
  if (!in.done()) return fail(ErrorCode::internal, "the engine's list of handles is malformed");
  return handles;
}

}  // namespace

Result<void> show_pcr_banks(engine::Engine& engine, policy::Gate& gate) {
  const SecretBytes ask = get_capability(frame::kCapPcrs, 0, 1);
  VTPM_TRY(const ByteView reply, engine.process(ask, 0));
  gate.observe(ask, reply);
  return {};
}

Result<std::vector<std::uint32_t>> transient_keys(engine::Engine& engine) {
  VTPM_TRY(const std::vector<std::uint32_t> handles, transient_objects(engine));
  std::vector<std::uint32_t> keys;
  for (const std::uint32_t handle : handles) {
    VTPM_TRY(const ByteView reply, engine.process(own_frame({frame::kCcReadPublic, {handle}}), 0));
    // A hash sequence has no public area: TPM_RC_SEQUENCE.
    if (frame::response_code(reply) == frame::kRcSuccess) keys.push_back(handle);
  }
  return keys;
}

Result<void> find_null_primaries(engine::Engine& engine, policy::Gate& gate) {
  VTPM_TRY(const std::vector<std::uint32_t> keys, transient_keys(engine));
  for (const std::uint32_t handle : keys) gate.resume_null_primary(handle);
  return {};
}

}  // namespace vtpm::worker
