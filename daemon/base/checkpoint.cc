// SPDX-License-Identifier: Apache-2.0
#include "base/checkpoint.h"

namespace vtpm {
namespace {
constexpr std::uint32_t kMagic = 0x76746370;  // "vtcp"
constexpr std::uint16_t kWithoutRedo = 1;
constexpr std::uint16_t kWithRedo = 2;
constexpr std::size_t kFixedPart = 4 + 2 + 16 + 3 * 8 + 3 * 4;  // all but its parts' content
constexpr std::size_t kLengths = 1 + 4 + 4;                     // around a redo's command and reply

Result<void> decode_redo(Reader& in, std::vector<Redo>& out) {
  const ByteView all = in.sized32();
  if (all.empty()) return fail(ErrorCode::corrupt, "checkpoint: no command to be redone");
  if (all.size() > kMaxRedo)
    return fail(ErrorCode::too_large, "checkpoint: the commands to be redone are over their limit");
  Reader each(all);
  while (!each.rest().empty() && each.ok()) out.push_back(read_redo(each));
  if (!each.ok()) return fail(ErrorCode::corrupt, "checkpoint: a command to be redone is cut off");
  return {};
}

}  // namespace

std::size_t encoded_size(const RedoView& redo) {
  return kLengths + redo.command.size() + redo.reply.size();
}

std::size_t encoded_size(const std::vector<Redo>& all) {
  std::size_t size = 0;
  for (const Redo& redo : all) size += encoded_size(redo);
  return size;
}

void write_redo(SpanWriter& out, const RedoView& redo) {
  out.u8(redo.locality).sized32(redo.command).sized32(redo.reply);
}

Redo read_redo(Reader& in) {
  Redo redo;
  redo.locality = in.u8();
  redo.command = to_secret(in.sized32());
  redo.reply = to_secret(in.sized32());
  return redo;
}

std::size_t encoded_size(const Checkpoint& c) {
  const std::size_t redo = c.redo.empty() ? 0 : 4 + encoded_size(c.redo);
  return kFixedPart + c.permanent.size() + c.volatile_state.size() + c.reply.size() + redo;
}

void write(SpanWriter& out, const Checkpoint& c) {
  out.u32(kMagic)
      .u16(c.redo.empty() ? kWithoutRedo : kWithRedo)
      .bytes(c.boot_id)
      .u64(c.incarnation)
      .u64(c.permanent_version)
      .u64(c.sequence)
      .sized32(c.permanent)
      .sized32(c.volatile_state)
      .sized32(c.reply);
  if (c.redo.empty()) return;
  out.u32(static_cast<std::uint32_t>(encoded_size(c.redo)));
  for (const Redo& redo : c.redo) write_redo(out, redo);
}

SecretBytes encode(const Checkpoint& c) {
  SecretBytes out(encoded_size(c));
  SpanBuffer buffer(out);
  SpanWriter writer(buffer);
  write(writer, c);
  return out;
}

Result<Checkpoint> decode_checkpoint(ByteView bytes) {
  Reader in(bytes);
  if (in.u32() != kMagic) return fail(ErrorCode::corrupt, "checkpoint: wrong magic number");
  const std::uint16_t version = in.u16();
  if (in.ok() && version != kWithoutRedo && version != kWithRedo)
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
  if (version == kWithRedo) VTPM_CHECK(decode_redo(in, c.redo));
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
