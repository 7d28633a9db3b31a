// SPDX-License-Identifier: Apache-2.0
#include "journal/layout.h"

#include <algorithm>
#include <string>

namespace vtpm::journal {
namespace {
constexpr std::uint32_t kMagic = 0x76746a6c;  // "vtjl"
}  // namespace

Bytes encode_header(const Header& header) {
  Bytes page;
  page.reserve(kPageSize);
  Writer(page)
      .u32(kMagic)
      .u32(kVersion)
      .bytes(header.device.bytes)
      .bytes(header.boot_id)
      .bytes(header.power_id)
      .u64(header.incarnation)
      .u32(static_cast<std::uint32_t>(kSlotSize));
  page.resize(kPageSize);
  return page;
}

Result<Header> decode_header(ByteView page, std::uint32_t version) {
  Reader in(page);
  if (page.size() != kPageSize || in.u32() != kMagic)
    return fail(ErrorCode::corrupt, "journal: no header");
  if (const auto found = in.u32(); found != version)
    return fail(ErrorCode::unsupported, "journal: format version " + std::to_string(found),
                "it was written by another version of vtpmd");
  Header header;
  header.device.bytes = in.array<16>();
  header.boot_id = in.array<16>();
  header.power_id = in.array<16>();
  header.incarnation = in.u64();
  if (in.u32() != kSlotSize) return fail(ErrorCode::corrupt, "journal: slots of another size");
  const ByteView rest = in.rest();
  if (std::any_of(rest.begin(), rest.end(), [](std::byte b) { return b != std::byte{0}; }))
    return fail(ErrorCode::corrupt, "journal: garbage after the header");
  return header;
}

Result<void> check(const Header& header, const Checkpoint& checkpoint) {
  if (checkpoint.permanent.size() > kMaxPermanentState ||
      checkpoint.volatile_state.size() > kMaxVolatileState || checkpoint.reply.size() > kMaxReply)
    return fail(ErrorCode::too_large, "journal: a part of the checkpoint is over its limit");
  if (checkpoint.boot_id != header.boot_id)
    return fail(ErrorCode::invalid_argument, "journal: the checkpoint is of another boot");
  if (checkpoint.incarnation > header.incarnation)
    return fail(ErrorCode::invalid_argument, "journal: the checkpoint is of a later worker");
  return {};
}

}  // namespace vtpm::journal
