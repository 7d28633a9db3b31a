// SPDX-License-Identifier: Apache-2.0
#include "frame/frame.h"

#include <algorithm>

#include "frame/commands.h"

namespace vtpm::frame {
namespace {

// A format-one response code names what it is about (Part 2, 6.6.3): handle n or session n.
constexpr std::uint32_t of_handle(std::uint32_t rc, std::size_t n) {
  return rc + static_cast<std::uint32_t>(n << 8);
}
constexpr std::uint32_t of_session(std::uint32_t rc, std::size_t n) {
  return rc + 0x800 + static_cast<std::uint32_t>(n << 8);
}

Parsed malformed(Parsed parsed, Malformed what, std::uint32_t rc) {
  parsed.malformed = what;
  parsed.rc = rc;
  return parsed;
}

// libtpms tells a tag that names another structure of the specification (TPM_RC_BAD_TAG) from one
// that names nothing (TPM_RC_VALUE); TPM 1.2 command tags name nothing.
std::uint32_t rc_of_tag(std::uint16_t tag) {
  constexpr std::array<std::uint16_t, 14> other_structures = {
      0x00c4, 0x8000, 0x8014, 0x8015, 0x8016, 0x8017, 0x8018,
      0x8019, 0x801a, 0x8021, 0x8022, 0x8023, 0x8024, 0x8025};
  return std::ranges::find(other_structures, tag) != other_structures.end() ? kRcBadTag : kRcValue;
}

// A TPM2B of a session. Sets rc and returns false if it is not all there or over its limit.
bool read_digest(Reader& area, ByteView& out, std::size_t session, std::uint32_t& rc) {
  const std::uint16_t size = area.u16();
  if (area.ok() && size > kMaxDigest) {
    rc = of_session(kRcSize, session);
    return false;
  }
  out = area.bytes(size);
  rc = of_session(kRcInsufficient, session);
  return area.ok();
}

// The authorization area: UINT32 size, then one to three sessions that fill it exactly.
// Returns 0, or the response code of what is wrong.
std::uint32_t read_sessions(Reader& in, Command& command) {
  constexpr std::size_t smallest_session = 9;
  const std::uint32_t size = in.u32();
  if (!in.ok()) return kRcInsufficient;
  if (size < smallest_session || size > in.rest().size()) return kRcSize;
  Reader area(in.bytes(size));
  while (!area.done()) {
    const std::size_t number = command.session_count + 1;
    if (number > command.session_array.size()) return of_session(kRcSize, number);
    Session& session = command.session_array[command.session_count];
    std::uint32_t rc = 0;
    session.handle = area.u32();
    if (!area.ok()) return of_session(kRcInsufficient, number);
    if (!read_digest(area, session.nonce, number, rc)) return rc;
    session.attributes = area.u8();
    if (!area.ok()) return of_session(kRcInsufficient, number);
    if (!read_digest(area, session.hmac, number, rc)) return rc;
    command.session_count = number;
  }
  return 0;
}

}  // namespace

bool has_tpm12_tag(ByteView frame) {
  if (frame.size() < 2) return false;
  const std::uint16_t tag = load_be16(frame.data());
  return tag >= 0x00c1 && tag <= 0x00c3;
}

// The order of the checks is the engine's: tag, size, code, handles, sessions.
Parsed parse(ByteView frame) {
  Parsed parsed;
  Command& command = parsed.command;
  Reader in(frame);
  command.tag = in.u16();
  if (!in.ok()) return malformed(parsed, Malformed::too_short, kRcInsufficient);
  if (command.tag != kTagNoSessions && command.tag != kTagSessions) {
    return malformed(parsed, Malformed::bad_tag, rc_of_tag(command.tag));
  }
  const std::uint32_t size = in.u32();
  if (!in.ok()) return malformed(parsed, Malformed::too_short, kRcInsufficient);
  if (size != frame.size() || size > kMaxFrame) {
    return malformed(parsed, Malformed::size_mismatch, kRcCommandSize);
  }
  command.code = in.u32();
  if (!in.ok()) return malformed(parsed, Malformed::too_short, kRcInsufficient);

  const CommandInfo* info = find_command(command.code);
  if (info == nullptr) return parsed;
  parsed.known = true;
  for (std::size_t i = 0; i < info->handles; ++i) {
    command.handle_array[i] = in.u32();
    if (!in.ok()) {
      return malformed(parsed, Malformed::handles, of_handle(kRcInsufficient, i + 1));
    }
  }
  command.handle_count = info->handles;
  if (command.tag == kTagSessions) {
    if (const std::uint32_t rc = read_sessions(in, command); rc != 0) {
      return malformed(parsed, Malformed::sessions, rc);
    }
  }
  command.parameters = in.rest();
  return parsed;
}

std::array<std::byte, kHeaderSize> reply_header(std::uint32_t rc) {
  std::array<std::byte, kHeaderSize> reply{};
  store_be16(reply.data(), kTagNoSessions);
  store_be32(reply.data() + 2, kHeaderSize);
  store_be32(reply.data() + 6, rc);
  return reply;
}

std::uint32_t response_code(ByteView reply) {
  return reply.size() < kHeaderSize ? kRcFailure : load_be32(reply.data() + 6);
}

}  // namespace vtpm::frame
