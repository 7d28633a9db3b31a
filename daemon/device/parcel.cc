// SPDX-License-Identifier: Apache-2.0
#include "device/parcel.h"

#include <algorithm>
#include <cstdint>

#include "identity/hpke.h"

namespace vtpm::device {
namespace {

constexpr std::string_view kMagic = "vTPM-parcel";
constexpr std::string_view kInfo = "vTPM proxy: a device that moves";
constexpr std::uint8_t kFormat = 1;
constexpr std::size_t kHeader = kMagic.size() + 1 + 16 + 32;

struct Header {
  Uuid uuid;
  identity::Digest recipient{};
};

Result<Header> read_header(ByteView file) {
  Reader in(file);
  const bool known = as_text(in.bytes(kMagic.size())) == kMagic && in.u8() == kFormat;
  Header header;
  header.uuid.bytes = in.array<16>();
  header.recipient = in.array<32>();
  if (!known || !in.ok())
    return fail(ErrorCode::invalid_argument, "this is no file that 'vtpmctl export' wrote");
  return header;
}

}  // namespace

SecretBytes encode(const Parcel& parcel) {
  SecretBytes out;
  const store::Settings& s = parcel.settings;
  SecretWriter(out)
      .u8(kFormat)
      .sized16(as_bytes(s.name))
      .sized16(as_bytes(s.owner))
      .u8(s.kind)
      .u8(s.mode)
      .u8(s.node)
      .u8(s.linux_hmac ? 1 : 0)
      .u32(s.command_timeout_ms)
      .u32(s.detach_timeout_ms)
      .u64(s.park_after_s ? std::uint64_t{*s.park_after_s} + 1 : 0)
      .u8(s.cert_profile)
      .u64(parcel.epoch)
      .sized32(parcel.permanent)
      .sized32(parcel.lineage);
  return out;
}

Result<Parcel> decode_parcel(ByteView plain) {
  Reader in(plain);
  Parcel parcel;
  store::Settings& s = parcel.settings;
  const bool known = in.u8() == kFormat;
  s.name = as_text(in.sized16());
  s.owner = as_text(in.sized16());
  s.kind = in.u8();
  s.mode = in.u8();
  s.node = in.u8();
  const std::uint8_t hmac = in.u8();
  s.linux_hmac = hmac == 1;
  s.command_timeout_ms = in.u32();
  s.detach_timeout_ms = in.u32();
  const std::uint64_t park = in.u64();
  const bool sound = hmac <= 1 && park <= std::uint64_t{UINT32_MAX} + 1;
  if (park > 0) s.park_after_s = static_cast<std::uint32_t>(park - 1);
  s.cert_profile = in.u8();
  parcel.epoch = in.u64();
  parcel.permanent = to_secret(in.sized32());
  parcel.lineage = to_secret(in.sized32());
  if (!known || !sound || !in.done() || parcel.permanent.empty() || parcel.lineage.empty())
    return fail(ErrorCode::invalid_argument, "the device in the file is of a newer vtpmd",
                "upgrade vtpmd");
  return parcel;
}

Result<Bytes> seal(const Parcel& parcel, ByteView recipient) {
  VTPM_TRY(const identity::Digest to, identity::sha256(recipient));
  Bytes file;
  Writer(file).bytes(as_bytes(kMagic)).u8(kFormat).bytes(parcel.uuid.bytes).bytes(to);
  VTPM_TRY(const Bytes sealed, identity::hpke_seal(recipient, kInfo, file, encode(parcel)));
  Writer(file).bytes(sealed);
  if (file.size() > kLongestParcel)
    return fail(ErrorCode::too_large, "what the device holds is too much for a file");
  return file;
}

Result<bool> is_for(ByteView file, ByteView recipient) {
  VTPM_TRY(const Header header, read_header(file));
  VTPM_TRY(const identity::Digest to, identity::sha256(recipient));
  return header.recipient == to;
}

Result<Parcel> open_parcel(ByteView file, ByteView private_key) {
  if (file.size() > kLongestParcel)
    return fail(ErrorCode::invalid_argument, "the file is longer than any that vtpmd writes");
  VTPM_TRY(const Header header, read_header(file));
  VTPM_TRY(const Bytes recipient, identity::exchange_public_key(private_key));
  VTPM_TRY(const bool ours, is_for(file, recipient));
  if (!ours)
    return fail(ErrorCode::failed_precondition, "the file is sealed to another host",
                "import it there, or export the device again to 'vtpmctl host-key recipient'");
  VTPM_TRY(const SecretBytes plain,
           identity::hpke_open(private_key, kInfo, file.first(kHeader), file.subspan(kHeader)));
  VTPM_TRY(Parcel parcel, decode_parcel(plain));
  parcel.uuid = header.uuid;
  return parcel;
}

}  // namespace vtpm::device
