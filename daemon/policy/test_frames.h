// SPDX-License-Identifier: Apache-2.0
// Frames for the tests of this folder.
#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "frame/commands.h"
#include "frame/frame.h"

namespace vtpm::policy::test {

inline Bytes hex(std::string_view digits) { return from_hex(digits).value(); }

// `sessions`: session handles, each with empty nonce and hmac; none = no authorization area.
inline Bytes command(std::uint32_t code, std::vector<std::uint32_t> handles,
                     std::vector<std::uint32_t> sessions, ByteView parameters = {}) {
  Bytes out;
  Writer w(out);
  w.u16(sessions.empty() ? frame::kTagNoSessions : frame::kTagSessions).u32(0).u32(code);
  for (std::uint32_t handle : handles) w.u32(handle);
  if (!sessions.empty()) {
    w.u32(static_cast<std::uint32_t>(9 * sessions.size()));
    for (std::uint32_t session : sessions) w.u32(session).u16(0).u8(0).u16(0);
  }
  w.bytes(parameters);
  store_be32(out.data() + 2, static_cast<std::uint32_t>(out.size()));
  return out;
}

inline Bytes command(std::string_view name, std::vector<std::uint32_t> handles,
                     std::vector<std::uint32_t> sessions, ByteView parameters = {}) {
  return command(frame::find_command(name)->code, std::move(handles), std::move(sessions),
                 parameters);
}

// As many null handles as the command wants, and a password for each that needs one.
inline Bytes plain(const frame::CommandInfo& info, ByteView parameters = {}) {
  return command(info.code, std::vector<std::uint32_t>(info.handles, frame::kRhNull),
                 std::vector<std::uint32_t>(info.auth_handles, frame::kRsPassword), parameters);
}

// A successful reply of a command without sessions.
inline Bytes reply(ByteView body) {
  Bytes out;
  Writer(out)
      .u16(frame::kTagNoSessions)
      .u32(static_cast<std::uint32_t>(frame::kHeaderSize + body.size()))
      .u32(0)
      .bytes(body);
  return out;
}

// drivers/char/tpm/tpm2-sessions.c, Linux 6.12.
inline Bytes linux_null_primary() {
  return command("CreatePrimary", {frame::kRhNull}, {frame::kRsPassword},
                 hex("000400000000001a0023000b00030472000000060080004300100003001000000000"
                     "000000000000"));
}

}  // namespace vtpm::policy::test
