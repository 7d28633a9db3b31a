// SPDX-License-Identifier: Apache-2.0
// libtpms state blobs, taken apart field by field, and patched in place.
//
// Offsets shift with the lengths of authorizations and policies, so nothing is hard-coded: each
// parser walks the whole structure and refuses what it does not know. Blobs come from the store, a
// journal or another process and are untrusted.
// Source: libtpms 0.9.2, src/tpm2/NVMarshal.c (PERSISTENT_ALL, VOLATILE_STATE); layouts are
// described in Documentation/design/state-blobs.rst.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"

namespace vtpm::engine {

struct Field {  // the payload of a TPM2B inside a blob; its UINT16 length is at offset - 2
  std::size_t offset = 0;
  std::size_t size = 0;
};

// STATE_CLEAR_DATA and STATE_RESET_DATA: what a TPM has from one Startup(CLEAR) to the next.
struct StateFields {
  std::size_t storage_enabled = 0, endorsement_enabled = 0, platform_nv_enabled = 0;  // u8 each
  Field platform_policy, platform_auth, null_proof, null_seed, commit_nonce;
};

struct PermanentLayout {
  Field owner_policy, endorsement_policy, lockout_policy;
  Field owner_auth, endorsement_auth, lockout_auth;
  Field endorsement_seed, storage_seed, platform_seed;
  Field platform_proof, storage_proof, endorsement_proof;
  std::size_t total_reset_count = 0;  // u64
  std::size_t reset_count = 0;        // u32
  Field pcr_banks, next_pcr_banks;    // TPML_PCR_SELECTION, now and after the next reset
  std::size_t failed_tries = 0;       // u32: what counts towards a lockout
  std::size_t lockout_enabled = 0;    // u8: the lockout authorization can be used
  std::size_t orderly_state = 0;      // u16
  Field audited_commands;             // a bit for each
  Field time_epoch;
  std::size_t seed_compat = 0;  // 3 bytes: endorsement, storage, platform
  std::size_t clock = 0;        // u64
  Field drbg_seed;
  // Of the last TPM2_Shutdown(STATE), for a TPM2_Startup(STATE). Empty if there is none, with the
  // place where it would be.
  Field saved_state;
  StateFields saved;
};

struct VolatileLayout : StateFields {
  std::size_t platform_enabled = 0;
  std::size_t clock = 0;
  Field drbg_seed;
  std::size_t started = 0;     // u8: TPM2_Startup was done
  std::size_t host_clock = 0;  // u64: milliseconds on the host's clock when this was written
  Field pcrs;                  // content of a block; a UINT16 length is before it, too
  // Of the first length word; three TPM2B in a row: endorsement, storage, platform seed.
  std::size_t seed_copies = 0;
};

Result<PermanentLayout> parse_permanent(ByteView blob);
// The same of the beginning of a blob, as far as lockout_enabled.
Result<PermanentLayout> parse_beginning(ByteView blob);
Result<VolatileLayout> parse_volatile(ByteView blob);

// The SHA-1 over everything before the last 20 bytes of a volatile blob.
Result<void> rehash_volatile(MutableByteView blob);
bool volatile_hash_ok(ByteView blob);

// Replaces the drbg seed (and commitNonce, if asked) of a volatile blob by random bytes.
Result<void> renew_randomness(MutableByteView volatile_blob, bool commit_nonce_too);

// Makes a volatile blob count its time from `host_clock_ms` on, as if it had been written then.
Result<void> restart_clock(MutableByteView volatile_blob, std::uint64_t host_clock_ms);

// The permanent blob of a device without identity: `manufactured` with 64-byte zero seeds and
// proofs and a zero drbg seed; public, the same everywhere.
Result<SecretBytes> make_blank(ByteView manufactured);
// True if all seeds and proofs are zero.
Result<bool> is_blank(ByteView permanent_blob);

// Is there a command that counts in the digest of audited ones (Part 1, "Audit"), beside the one
// that chooses them, TPM2_SetCommandCodeAuditStatus?
Result<bool> audits_commands(ByteView permanent_blob);
// Is an audit session exclusive, until a command comes that is not of it?
Result<bool> has_exclusive_session(ByteView volatile_blob);

}  // namespace vtpm::engine
