// SPDX-License-Identifier: Apache-2.0
#include "base/checkpoint.h"

namespace vtpm {
namespace {
constexpr std::uint32_t kMagic = 0x76746370;  // "vtcp"
constexpr std::uint16_t kVersion = 1;
}  // namespace

SecretBytes encode(const Checkpoint& c) {
  SecretBytes out;
  out.reserve(96 + c.permanent.size() + c.volatile_state.size() + c.reply.size());
  SecretWriter(out)
      .u32(kMagic)
      .u16(kVersion)
      .bytes(c.boot_id)
      .u64(c.incarnation)
      .u64(c.permanent_version)
      .u64(c.sequence)
      .sized32(c.permanent)
      .sized32(c.volatile_state)
      .sized32(c.reply);
  return out;
}

Result<Checkpoint> decode_checkpoint(ByteView bytes) {
  Reader in(bytes);
  if (in.u32() != kMagic) return fail(ErrorCode::corrupt, "checkpoint: wrong magic number");
  if (const auto version = in.u16(); in.ok() && version != kVersion)
    return fail(ErrorCode::unsupported, "checkpoint: format version " + std::to_string(version),
                "it was written by a newer version of vtpmd; upgrade this host");
  Checkpoint c;
  c.boot_id = in.array<16>();
  c.incarnation = in.u64();
  c.permanent_version = in.u64();
  c.sequence = in.u64();
  const ByteView permanent = in.sized32();
  const ByteView volatile_state = in.sized32();
  const ByteView reply = in.sized32();
  if (!in.done()) return fail(ErrorCode::corrupt, "checkpoint: truncated or followed by garbage");
  if (permanent.size() > kMaxPermanentState || volatile_state.size() > kMaxVolatileState ||
      reply.size() > kMaxReply)
    return fail(ErrorCode::too_large, "checkpoint: a part is over its limit");
  c.permanent = to_secret(permanent);
  c.volatile_state = to_secret(volatile_state);
  c.reply = to_secret(reply);
  return c;
}

}  // namespace vtpm
