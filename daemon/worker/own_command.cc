// SPDX-License-Identifier: Apache-2.0
#include "worker/own_command.h"

#include <fmt/format.h>

#include "frame/frame.h"

namespace vtpm::worker {

SecretBytes own_frame(const OwnCommand& command, ByteView parameters) {
  SecretBytes body;
  SecretWriter w(body);
  for (const std::uint32_t handle : command.handles) w.u32(handle);
  if (command.authorized > 0) {
    const std::size_t session = 4 + 2 + 1 + 2 + command.password.size();
    w.u32(static_cast<std::uint32_t>(command.authorized * session));
    for (std::size_t i = 0; i < command.authorized; i++)
      w.u32(frame::kRsPassword).u16(0).u8(0).sized16(command.password);
  }
  w.bytes(parameters);
  SecretBytes frame;
  SecretWriter(frame)
      .u16(command.authorized > 0 ? frame::kTagSessions : frame::kTagNoSessions)
      .u32(static_cast<std::uint32_t>(frame::kHeaderSize + body.size()))
      .u32(command.code)
      .bytes(body);
  return frame;
}

Result<ByteView> run_own(engine::Engine& engine, const OwnCommand& command, ByteView parameters) {
  VTPM_TRY(const ByteView reply, engine.process(own_frame(command, parameters), 0));
  if (const std::uint32_t rc = frame::response_code(reply); rc != frame::kRcSuccess)
    return fail(ErrorCode::internal,
                fmt::format("a command of the worker's own, {:#x}, gave {:#x}", command.code, rc));
  return reply.subspan(frame::kHeaderSize);
}

Bytes capability_parameters(std::uint32_t capability, std::uint32_t property, std::uint32_t count) {
  Bytes parameters;
  Writer(parameters).u32(capability).u32(property).u32(count);
  return parameters;
}

Result<void> flush(engine::Engine& engine, std::uint32_t handle) {
  Bytes which;
  Writer(which).u32(handle);
  VTPM_CHECK(run_own(engine, {frame::kCcFlushContext}, which));
  return {};
}

}  // namespace vtpm::worker
