// SPDX-License-Identifier: Apache-2.0
// The commands that are timed, and those that prepare for them, as bytes.
// Source: TPM 2.0 Library, Part 3.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "base/bytes.h"
#include "frame/frame.h"

namespace bench {

using vtpm::Bytes;
using vtpm::ByteView;

using vtpm::frame::kHeaderSize;
using vtpm::frame::kRcInitialize;
using vtpm::frame::kRcReadOnly;

// The size field of a frame that has a whole header.
std::size_t size_of(ByteView frame);
// TPM_RC of a reply, or TPM_RC_FAILURE if the header is not that of a reply of this length.
std::uint32_t code_of(ByteView reply);
// The first handle of a reply that has one.
std::uint32_t handle_in(ByteView reply);

// A command; `authorization` is the area of authorizations without its size, empty = no sessions.
Bytes command(std::uint32_t code, std::initializer_list<std::uint32_t> handles,
              ByteView authorization, ByteView parameters);
// An authorization: a session's handle, nonce, attributes and HMAC.
Bytes authorization(std::uint32_t handle, ByteView nonce, std::uint8_t attributes, ByteView hmac);
// By the empty password.
Bytes password();

inline constexpr std::uint32_t kUnseal = 0x15e;

Bytes startup();
Bytes pcr_read();    // PCR 16 of the SHA-256 bank
Bytes pcr_extend();  // the same one
Bytes get_random();  // 32 bytes
Bytes nv_define(std::uint32_t index, std::uint16_t size);
Bytes nv_undefine(std::uint32_t index);
Bytes nv_write(std::uint32_t index, ByteView data);
Bytes nv_read(std::uint32_t index, std::uint16_t size);
// noDA, all of them: libtpms answers the first use of what is under the lockout with TPM_RC_RETRY.
Bytes create_signing_key();  // P-256, a primary key of the owner hierarchy
Bytes create_storage_key();  // the same, for what is sealed below it
Bytes sign(std::uint32_t key);
Bytes seal(std::uint32_t parent, ByteView secret);
Bytes load(std::uint32_t parent, ByteView private_area, ByteView public_area);
Bytes unseal(std::uint32_t object);
Bytes start_hmac_session(ByteView nonce);  // neither salted nor bound
Bytes flush(std::uint32_t handle);

}  // namespace bench
