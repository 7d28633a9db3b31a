// SPDX-License-Identifier: Apache-2.0
// format (1) | run (8) | anchored (1) | sized sealed key of the authority | sized certificate of it
// | HMAC-SHA-256 of what is before it (32); sizes of 2 bytes. In format 2 there was no authority.
#include "device/note.h"

#include <tuple>

namespace vtpm::device {
namespace {

constexpr std::uint8_t kFormat = 3;  // 1 had no anchor
constexpr std::uint8_t kWithoutAuthority = 2;
constexpr const char* kPurpose = "note";

}  // namespace

Result<Bytes> encode(const Note& note, const store::HostKey& key) {
  Bytes out;
  Writer(out)
      .u8(kFormat)
      .u64(note.run)
      .u8(note.anchored ? 1 : 0)
      .sized16(note.authority_key)
      .sized16(note.authority_certificate);
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
  if (format != kFormat && format != kWithoutAuthority)
    return fail(ErrorCode::unsupported, "the note of the store is of a newer vtpmd",
                "upgrade vtpmd");
  Note note;
  note.run = reader.u64();
  note.anchored = reader.u8() != 0;
  if (format == kFormat) {
    note.authority_key = to_bytes(reader.sized16());
    note.authority_certificate = to_bytes(reader.sized16());
  }
  if (!reader.done()) return refused();
  return note;
}

}  // namespace vtpm::device
