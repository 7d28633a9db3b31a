// SPDX-License-Identifier: Apache-2.0
#include "engine/copied_state.h"

#include <algorithm>

#include "base/uuid.h"
#include "engine/state_blob.h"

namespace vtpm::engine {
namespace {

constexpr std::size_t kClockSize = 8;  // the byte after it: clockSafe
constexpr std::byte kNo{0};
// orderlyState of a TPM that was not shut down; and of one in which, since it was started, somebody
// has used what wrong guesses are counted for.
constexpr std::uint16_t kNotShutDown = 0xffff, kGuessable = 0xfffe;

// With `content` in a TPM2B of it; what lies behind moves.
SecretBytes with(ByteView blob, const Field& field, ByteView content) {
  SecretBytes out;
  SecretWriter(out)
      .bytes(blob.first(field.offset - 2))
      .sized16(content)
      .bytes(blob.subspan(field.offset + field.size));
  return out;
}

}  // namespace

Result<OpenedCopy> open_copy(ByteView permanent) {
  VTPM_TRY(const bool blank, is_blank(permanent));
  if (blank) return fail(ErrorCode::corrupt, "the state to copy has no identity");
  VTPM_TRY(const PermanentLayout p, parse_permanent(permanent));
  SecretBytes copy = to_secret(permanent);
  // At its next start such a TPM counts a guess that the loss of power may have hidden. Here none
  // is hidden: the state is of a moment between two commands, with all that they counted.
  if (load_be16(copy.data() + p.orderly_state) == kGuessable)
    store_be16(copy.data() + p.orderly_state, kNotShutDown);
  return OpenedCopy{with(copy, p.owner_auth, {}),
                    to_secret(permanent.subspan(p.owner_auth.offset, p.owner_auth.size))};
}

Result<void> set_endorsement_seed(MutableByteView permanent, ByteView seed) {
  VTPM_TRY(const PermanentLayout p, parse_permanent(permanent));
  if (seed.size() != p.endorsement_seed.size)
    return fail(ErrorCode::invalid_argument, "the endorsement seed has not the length of one");
  std::ranges::copy(seed,
                    permanent.begin() + static_cast<std::ptrdiff_t>(p.endorsement_seed.offset));
  return {};
}

Result<void> renew_storage(MutableByteView permanent) {
  VTPM_TRY(const PermanentLayout p, parse_permanent(permanent));
  VTPM_CHECK(fill_random(permanent.subspan(p.storage_seed.offset, p.storage_seed.size)));
  return fill_random(permanent.subspan(p.storage_proof.offset, p.storage_proof.size));
}

Result<void> keep_guesses(MutableByteView permanent, ByteView predecessor) {
  VTPM_TRY(const PermanentLayout before, parse_beginning(predecessor));
  VTPM_TRY(const PermanentLayout now, parse_permanent(permanent));
  const std::uint32_t failed = load_be32(predecessor.data() + before.failed_tries);
  if (failed > load_be32(permanent.data() + now.failed_tries))
    store_be32(permanent.data() + now.failed_tries, failed);
  if (predecessor[before.lockout_enabled] == kNo) permanent[now.lockout_enabled] = kNo;
  return {};
}

Result<SecretBytes> close_copy(ByteView permanent, ByteView owner_auth) {
  VTPM_TRY(const PermanentLayout before, parse_permanent(permanent));
  SecretBytes closed = with(permanent, before.owner_auth, owner_auth);
  VTPM_TRY(const PermanentLayout p, parse_permanent(closed));
  VTPM_CHECK(fill_random(MutableByteView(closed).subspan(p.drbg_seed.offset, p.drbg_seed.size)));
  closed[p.clock + kClockSize] = kNo;
  return closed;
}

Result<SecretBytes> take_running_part(ByteView volatile_state) {
  VTPM_TRY(const VolatileLayout v, parse_volatile(volatile_state));
  SecretBytes part;
  if (volatile_state[v.started] == kNo) return part;
  const bool open = volatile_state[v.platform_enabled] != kNo && v.platform_auth.size == 0;
  SecretWriter(part).u8(open ? 1 : 0).bytes(volatile_state.subspan(v.pcrs.offset, v.pcrs.size));
  return part;
}

Result<SecretBytes> put_running_part(ByteView volatile_state, ByteView part) {
  VTPM_TRY(const VolatileLayout v, parse_volatile(volatile_state));
  // As long as those of the same banks.
  if (v.pcrs.size == 0 || part.size() != 1 + v.pcrs.size || volatile_state[v.started] == kNo)
    return fail(ErrorCode::corrupt, "the PCRs of the source are not those of its permanent state");
  SecretBytes running = to_secret(volatile_state);
  if (part.front() == kNo) running[v.platform_enabled] = kNo;
  std::ranges::copy(part.subspan(1), running.begin() + static_cast<std::ptrdiff_t>(v.pcrs.offset));
  VTPM_CHECK(rehash_volatile(running));
  return running;
}

}  // namespace vtpm::engine
