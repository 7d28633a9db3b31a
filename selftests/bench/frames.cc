// SPDX-License-Identifier: Apache-2.0
#include "frames.h"

#include <algorithm>

namespace bench {
namespace {

using vtpm::Writer;
namespace frame = vtpm::frame;

constexpr std::uint16_t kKeyedHash = 0x08;
constexpr std::uint16_t kP256 = 0x03;
constexpr std::size_t kDigestSize = 32;

Bytes create_primary(std::uint32_t attributes, bool signing) {
  Bytes area;
  Writer out(area);
  out.u16(frame::kAlgEcc).u16(frame::kAlgSha256).u32(attributes).u16(0);  // no policy
  if (signing)
    out.u16(frame::kAlgNull).u16(frame::kAlgEcdsa).u16(frame::kAlgSha256);
  else
    out.u16(frame::kAlgAes).u16(128).u16(frame::kAlgCfb).u16(frame::kAlgNull);
  out.u16(kP256).u16(frame::kAlgNull).u16(0).u16(0);  // no KDF; the point is not chosen
  Bytes parameters;
  Writer(parameters).u16(4).u32(0).sized16(area).u16(0).u32(0);
  return command(0x131, {frame::kRhOwner}, password(), parameters);
}

}  // namespace

std::size_t size_of(ByteView frame) { return vtpm::load_be32(frame.data() + 2); }

std::uint32_t code_of(ByteView reply) {
  if (reply.size() < kHeaderSize || size_of(reply) != reply.size()) return frame::kRcFailure;
  return vtpm::load_be32(reply.data() + 6);
}

std::uint32_t handle_in(ByteView reply) {
  return reply.size() < kHeaderSize + 4 ? 0 : vtpm::load_be32(reply.data() + kHeaderSize);
}

Bytes command(std::uint32_t code, std::initializer_list<std::uint32_t> handles,
              ByteView authorization, ByteView parameters) {
  Bytes frame;
  Writer out(frame);
  out.u16(authorization.empty() ? frame::kTagNoSessions : frame::kTagSessions).u32(0).u32(code);
  for (const std::uint32_t handle : handles) out.u32(handle);
  if (!authorization.empty()) out.sized32(authorization);
  out.bytes(parameters);
  vtpm::store_be32(frame.data() + 2, static_cast<std::uint32_t>(frame.size()));
  return frame;
}

Bytes authorization(std::uint32_t handle, ByteView nonce, std::uint8_t attributes, ByteView hmac) {
  Bytes area;
  Writer(area).u32(handle).sized16(nonce).u8(attributes).sized16(hmac);
  return area;
}

Bytes password() { return authorization(frame::kRsPassword, {}, 0, {}); }

Bytes startup() {
  Bytes clear;
  Writer(clear).u16(0);
  return command(0x144, {}, {}, clear);
}

Bytes pcr_read() {
  Bytes selection;
  Writer(selection).u32(1).u16(frame::kAlgSha256).u8(3).u8(0).u8(0).u8(1);
  return command(0x17e, {}, {}, selection);
}

Bytes pcr_extend() {
  Bytes digests;
  Writer(digests).u32(1).u16(frame::kAlgSha256).bytes(Bytes(kDigestSize, std::byte{0x5a}));
  return command(0x182, {16}, password(), digests);
}

Bytes get_random() {
  Bytes size;
  Writer(size).u16(kDigestSize);
  return command(0x17b, {}, {}, size);
}

// Its own, empty authorization reads and writes it, and no wrong one locks it (TPMA_NV_NO_DA).
Bytes nv_define(std::uint32_t index, std::uint16_t size) {
  Bytes area;
  Writer(area).u32(index).u16(frame::kAlgSha256).u32(0x02040004).u16(0).u16(size);
  Bytes parameters;
  Writer(parameters).u16(0).sized16(area);
  return command(0x12a, {frame::kRhOwner}, password(), parameters);
}

Bytes nv_undefine(std::uint32_t index) {
  return command(0x122, {frame::kRhOwner, index}, password(), {});
}

Bytes nv_write(std::uint32_t index, ByteView data) {
  Bytes parameters(2 + data.size());
  vtpm::store_be16(parameters.data(), static_cast<std::uint16_t>(data.size()));
  std::ranges::copy(data, parameters.begin() + 2);
  Writer(parameters).u16(0);
  return command(0x137, {index, index}, password(), parameters);
}

Bytes nv_read(std::uint32_t index, std::uint16_t size) {
  Bytes parameters;
  Writer(parameters).u16(size).u16(0);
  return command(0x14e, {index, index}, password(), parameters);
}

Bytes create_signing_key() { return create_primary(0x00040472, true); }
Bytes create_storage_key() { return create_primary(0x00030472, false); }

Bytes sign(std::uint32_t key) {
  Bytes parameters;
  Writer(parameters)
      .sized16(Bytes(kDigestSize, std::byte{0x5a}))
      .u16(frame::kAlgEcdsa)
      .u16(frame::kAlgSha256);
  Writer(parameters)
      .u16(0x8024)
      .u32(frame::kRhNull)
      .u16(0);  // no TPMT_TK_HASHCHECK: the key is not restricted
  return command(0x15d, {key}, password(), parameters);
}

Bytes seal(std::uint32_t parent, ByteView secret) {
  Bytes sensitive;
  Writer(sensitive).u16(0).sized16(secret);
  Bytes area;
  Writer(area).u16(kKeyedHash).u16(frame::kAlgSha256).u32(0x452).u16(0).u16(frame::kAlgNull).u16(0);
  Bytes parameters;
  Writer(parameters).sized16(sensitive).sized16(area).u16(0).u32(0);
  return command(0x153, {parent}, password(), parameters);
}

Bytes load(std::uint32_t parent, ByteView private_area, ByteView public_area) {
  Bytes parameters;
  Writer(parameters).sized16(private_area).sized16(public_area);
  return command(0x157, {parent}, password(), parameters);
}

Bytes unseal(std::uint32_t object) { return command(kUnseal, {object}, password(), {}); }

Bytes start_hmac_session(ByteView nonce) {
  Bytes parameters;
  Writer(parameters).sized16(nonce).u16(0).u8(0).u16(frame::kAlgNull).u16(frame::kAlgSha256);
  return command(0x176, {frame::kRhNull, frame::kRhNull}, {}, parameters);
}

Bytes flush(std::uint32_t handle) {
  Bytes parameters;
  Writer(parameters).u32(handle);
  return command(0x165, {}, {}, parameters);
}

}  // namespace bench
