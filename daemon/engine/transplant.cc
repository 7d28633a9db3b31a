// SPDX-License-Identifier: Apache-2.0
#include "engine/transplant.h"

#include <algorithm>

#include "base/uuid.h"
#include "engine/state_blob.h"

namespace vtpm::engine {
namespace {

ByteView view(ByteView blob, const Field& field) { return blob.subspan(field.offset, field.size); }

Result<void> copy(ByteView from, const Field& source, SecretBytes& to, const Field& target) {
  if (source.size != target.size)
    return fail(ErrorCode::corrupt, "a field of the new identity has another size than the old one",
                "both must be written by the same libtpms");
  std::ranges::copy(view(from, source), to.begin() + static_cast<std::ptrdiff_t>(target.offset));
  return {};
}

// What of the old permanent state goes on: the banks that the PCRs are in, time and resets as
// clients have seen them, and that the TPM runs.
Result<void> take_over(ByteView old, SecretBytes& permanent) {
  VTPM_TRY(const PermanentLayout from, parse_permanent(old));
  VTPM_TRY(const PermanentLayout to, parse_permanent(permanent));
  VTPM_CHECK(copy(old, from.pcr_banks, permanent, to.pcr_banks));
  VTPM_CHECK(copy(old, from.next_pcr_banks, permanent, to.next_pcr_banks));
  VTPM_CHECK(copy(old, from.time_epoch, permanent, to.time_epoch));
  VTPM_CHECK(copy(old, {from.clock, 8}, permanent, {to.clock, 8}));
  VTPM_CHECK(copy(old, {from.total_reset_count, 8}, permanent, {to.total_reset_count, 8}));
  VTPM_CHECK(copy(old, {from.reset_count, 4}, permanent, {to.reset_count, 4}));
  VTPM_CHECK(copy(old, {from.orderly_state, 2}, permanent, {to.orderly_state, 2}));
  // One that sleeps wakes up from what it has saved.
  const ByteView saved = view(old, from.saved_state);
  const auto begin = permanent.begin() + static_cast<std::ptrdiff_t>(to.saved_state.offset);
  const auto after =
      permanent.erase(begin, begin + static_cast<std::ptrdiff_t>(to.saved_state.size));
  permanent.insert(after, saved.begin(), saved.end());
  return {};
}

void enable(SecretBytes& blob, const StateFields& state) {
  for (const std::size_t enabled :
       {state.storage_enabled, state.endorsement_enabled, state.platform_nv_enabled})
    blob[enabled] = std::byte{1};
}

// The same for what a TPM has saved, and for what it runs with.
Result<void> renew_saved(SecretBytes& permanent, const PermanentLayout& p) {
  if (p.saved_state.size == 0) return {};
  enable(permanent, p.saved);
  return fill_random(
      MutableByteView(permanent).subspan(p.saved.commit_nonce.offset, p.saved.commit_nonce.size));
}

// libtpms compares its copies of the seeds with the permanent state, and there is a length word
// before each of them.
void put_seeds(ByteView permanent, const PermanentLayout& p, SecretBytes& volatile_state,
               std::size_t offset) {
  for (const Field& seed : {p.endorsement_seed, p.storage_seed, p.platform_seed}) {
    offset += 2;
    std::ranges::copy(view(permanent, seed),
                      volatile_state.begin() + static_cast<std::ptrdiff_t>(offset));
    offset += seed.size;
  }
}

// Moves what lies behind it.
void make_empty(SecretBytes& blob, const Field& field) {
  store_be16(blob.data() + field.offset - 2, 0);
  const auto begin = blob.begin() + static_cast<std::ptrdiff_t>(field.offset);
  blob.erase(begin, begin + static_cast<std::ptrdiff_t>(field.size));
}

// The platform hierarchy, enabled, with the empty authorization, also after a sleep. It has no
// policy: the gate refuses SetPrimaryPolicy.
void open_platform(RunningState& state, const PermanentLayout& p, const VolatileLayout& v) {
  state.volatile_state[v.platform_enabled] = std::byte{1};
  make_empty(state.volatile_state, v.platform_auth);
  if (p.saved_state.size != 0) make_empty(state.permanent, p.saved.platform_auth);
}

}  // namespace

Result<RunningState> transplant(ByteView manufactured, ByteView permanent, ByteView volatile_state,
                                Platform platform) {
  VTPM_TRY(const bool nothing_new, is_blank(manufactured));
  if (nothing_new) return fail(ErrorCode::corrupt, "the new identity has no seeds");
  VTPM_TRY(const bool was_blank, is_blank(permanent));
  if (!was_blank) return fail(ErrorCode::failed_precondition, "the TPM has an identity already");

  RunningState next{to_secret(manufactured), to_secret(volatile_state)};
  VTPM_CHECK(take_over(permanent, next.permanent));
  VTPM_TRY(const PermanentLayout p, parse_permanent(next.permanent));
  VTPM_CHECK(renew_saved(next.permanent, p));
  // Random numbers that came from the blank state's generator say nothing of those to come.
  VTPM_CHECK(renew_randomness(next.volatile_state, true));
  VTPM_TRY(const VolatileLayout v, parse_volatile(next.volatile_state));
  enable(next.volatile_state, v);
  put_seeds(next.permanent, p, next.volatile_state, v.seed_copies);
  if (platform == Platform::opened) open_platform(next, p, v);
  VTPM_CHECK(rehash_volatile(next.volatile_state));
  return next;
}

}  // namespace vtpm::engine
