// SPDX-License-Identifier: Apache-2.0
// Parcel: a device on its way to another host, sealed to that host's key. Everything of its record
// but what belongs to the host. Pure.
//
//   "vTPM-parcel" | format (1) | uuid (16) | SHA-256 of the recipient's key (32) | HPKE message
//
// What is before the message is its associated data. Plaintext: format (1) | sized name | sized
// owner | kind (1) | mode (1) | node (1) | linux_hmac (1) | command and detach timeout (4, 4) |
// park after, 0 = none, else seconds + 1 (8) | cert_profile (1) | epoch (8) | size (4), permanent
// state | size (4), lineage; sizes of texts of 2 bytes.
#pragma once

#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "identity/event.h"
#include "store/store.h"

namespace vtpm::device {

struct Parcel {
  Uuid uuid;
  store::Settings settings;  // without socket path; role: device
  std::uint64_t epoch = 0;   // of the record that it was made from
  SecretBytes permanent;     // libtpms permanent state
  SecretBytes lineage;       // identity::Lineage, encoded
};

// `recipient`: as identity/hpke.h has it.
Result<Bytes> seal(const Parcel& parcel, ByteView recipient);
// INVALID_ARGUMENT: it is no parcel. FAILED_PRECONDITION: it is for another host. CORRUPT: it was
// changed on the way.
Result<Parcel> open_parcel(ByteView file, ByteView private_key);
// The plaintext, and what it says; but for the uuid, which is outside. INVALID_ARGUMENT: encode()
// does not write it.
SecretBytes encode(const Parcel& parcel);
Result<Parcel> decode_parcel(ByteView plain);
// Without opening it: is it for this recipient?
Result<bool> is_for(ByteView file, ByteView recipient);

inline constexpr std::size_t kLongestParcel = store::kMaxStateBlob;

}  // namespace vtpm::device
