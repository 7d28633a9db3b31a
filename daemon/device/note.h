// SPDX-License-Identifier: Apache-2.0
// Note: what vtpmd keeps about the store as a whole, under a MAC of the host key. It tells which
// host key the store is under, and a store that vtpmd left from one that somebody made up.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"
#include "store/sealing.h"

namespace vtpm::device {

struct Note {
  std::uint64_t run = 0;  // the number that the vouchers of all records carry
  bool anchored = false;  // a TPM counts the runs, too
  // The host's certificate authority (identity/authority.h), empty until somebody needs it. The key
  // is sealed under the host key.
  Bytes authority_key;
  Bytes authority_certificate;
  bool operator==(const Note&) const = default;
};

// What the host key seals the authority's key for.
inline constexpr const char* kAuthorityPurpose = "certificate authority";

Result<Bytes> encode(const Note& note, const store::HostKey& key);
// ErrorCode::corrupt: made under another host key, or by somebody who has none.
Result<Note> decode_note(ByteView bytes, const store::HostKey& key);

}  // namespace vtpm::device
