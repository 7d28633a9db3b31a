// SPDX-License-Identifier: Apache-2.0
// Note: what vtpmd keeps about the store as a whole, under a MAC of the host key. It tells which
// host key the store is under, and a store that vtpmd left from one that somebody made up.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "store/sealing.h"

namespace vtpm::device {

struct Note {
  std::uint64_t run = 0;  // the number that the vouchers of all records carry
  bool anchored = false;  // a TPM counts the runs, too
  // A certificate authority (identity/authority.h). The key is sealed under the host key; empty:
  // it is outside, and a command signs (sign_command.h).
  struct Authority {
    Bytes key;
    std::vector<Bytes> chain;
    bool operator==(const Authority&) const = default;
  };
  // The one that the host uses, then those that it used before, whose families there may still be.
  // None until somebody needs one.
  std::vector<Authority> authorities;
  Bytes requested_key;  // sealed: of an authority that waits for its certificate
  // Sealed: for the MACs of what is kept of devices that are gone (archive.h); empty: of none.
  Bytes withdrawal_key;
  Bytes exchange_key;       // sealed: of what other hosts seal to this one; empty: nobody asked yet
  std::uint64_t lists = 0;  // how many revocation lists there were
  std::uint64_t withdrawals = 0;  // how many rows the last one was made of
  bool operator==(const Note&) const = default;
};

// How many it had is no use to anybody, and each takes its place in the note.
inline constexpr std::size_t kMostAuthorities = 8;
// What the host key seals the key of an authority for.
inline constexpr const char* kAuthorityPurpose = "certificate authority";
inline constexpr const char* kWithdrawalPurpose = "withdrawals";
inline constexpr const char* kExchangePurpose = "exchange with other hosts";

Result<Bytes> encode(const Note& note, const store::HostKey& key);
// ErrorCode::corrupt: made under another host key, or by somebody who has none.
Result<Note> decode_note(ByteView bytes, const store::HostKey& key);

}  // namespace vtpm::device
