// SPDX-License-Identifier: Apache-2.0
// format (1) | run (8) | anchored (1) | lists (8) | withdrawals (8) | sized sealed key of
// withdrawals | sized sealed exchange key | sized sealed key that waits for a certificate | number
// of authorities (1) | each: sized sealed key, number of certificates (1), sized certificates |
// HMAC-SHA-256 of what is before it (32); sizes of 2 bytes. Format 3 had after `anchored` one
// authority, as sized sealed key and sized certificate, empty if there was none; format 2 nothing.
#include "device/note.h"

#include <tuple>

namespace vtpm::device {
namespace {

constexpr std::uint8_t kFormat = 4;  // 1 had no anchor
constexpr std::uint8_t kWithOneAuthority = 3;
constexpr std::uint8_t kWithoutAuthority = 2;
constexpr const char* kPurpose = "note";

Note::Authority read_authority(Reader& in) {
  Note::Authority authority{.key = to_bytes(in.sized16()), .chain = {}};
  const unsigned certificates = in.u8();
  for (unsigned i = 0; i < certificates && in.ok(); i++)
    authority.chain.push_back(to_bytes(in.sized16()));
  return authority;
}

}  // namespace

Result<Bytes> encode(const Note& note, const store::HostKey& key) {
  Bytes out;
  Writer writer(out);
  writer.u8(kFormat)
      .u64(note.run)
      .u8(note.anchored ? 1 : 0)
      .u64(note.lists)
      .u64(note.withdrawals)
      .sized16(note.withdrawal_key)
      .sized16(note.exchange_key)
      .sized16(note.requested_key)
      .u8(static_cast<std::uint8_t>(note.authorities.size()));
  for (const Note::Authority& authority : note.authorities) {
    writer.sized16(authority.key).u8(static_cast<std::uint8_t>(authority.chain.size()));
    for (const Bytes& certificate : authority.chain) writer.sized16(certificate);
  }
  VTPM_TRY(const store::Mac mac, key.authenticate(kPurpose, out));
  Writer(out).bytes(mac);
  return out;
}

Result<Note> decode_note(ByteView bytes, const store::HostKey& key) {
  const auto refused = [] {
    return fail(ErrorCode::corrupt,
                "the store was not written under this host key, or somebody changed its note",
                "give vtpmd the host key that belongs to the store, or restore both from a backup");
  };
  constexpr std::size_t kMac = std::tuple_size_v<store::Mac>;
  if (bytes.size() < kMac) return refused();
  const ByteView content = bytes.first(bytes.size() - kMac);
  VTPM_TRY(const store::Mac mac, key.authenticate(kPurpose, content));
  if (!equal_constant_time(bytes.last(kMac), mac)) return refused();
  Reader reader(content);
  const std::uint8_t format = reader.u8();
  if (format < kWithoutAuthority || format > kFormat)
    return fail(ErrorCode::unsupported, "the note of the store is of a newer vtpmd",
                "upgrade vtpmd");
  Note note;
  note.run = reader.u64();
  note.anchored = reader.u8() != 0;
  if (format == kFormat) {
    note.lists = reader.u64();
    note.withdrawals = reader.u64();
    note.withdrawal_key = to_bytes(reader.sized16());
    note.exchange_key = to_bytes(reader.sized16());
    note.requested_key = to_bytes(reader.sized16());
    const unsigned authorities = reader.u8();
    for (unsigned i = 0; i < authorities && reader.ok(); i++)
      note.authorities.push_back(read_authority(reader));
  } else if (format == kWithOneAuthority) {
    Note::Authority only{.key = to_bytes(reader.sized16()), .chain = {to_bytes(reader.sized16())}};
    if (!only.key.empty()) note.authorities.push_back(std::move(only));
  }
  if (!reader.done()) return refused();
  return note;
}

}  // namespace vtpm::device
