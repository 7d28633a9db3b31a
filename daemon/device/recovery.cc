// SPDX-License-Identifier: Apache-2.0
#include "device/recovery.h"

#include <tuple>
#include <utility>

namespace vtpm::device {
namespace {

// Within one power cycle, later is larger. An incarnation is a worker's life; a commit to the store
// raises permanent_version without a new sequence when it is not a command that made it.
auto order(const Checkpoint& c) {
  return std::tuple(c.incarnation, c.sequence, c.permanent_version);
}

}  // namespace

Result<Checkpoint> newest_checkpoint(RecoveryInput input) {
  std::optional<Checkpoint> journal;
  if (input.journal && input.journal->header.boot_id == input.boot_id && input.journal->newest &&
      input.journal->newest->boot_id == input.boot_id)
    journal = std::move(input.journal->newest);
  if (input.read_only) {
    if (!journal || journal->volatile_state.empty())
      return fail(ErrorCode::not_found, "the volatile state is gone");
    if (journal->permanent.empty())
      return fail(ErrorCode::corrupt, "the journal of a read-only device holds no state");
    return *std::move(journal);
  }

  if (!input.stored) return fail(ErrorCode::not_found, "there is no state");
  Checkpoint stored = *std::move(input.stored);
  if (stored.permanent_version != input.store_version)
    return fail(ErrorCode::corrupt, "the stored state is of another version than its record");
  const bool stored_is_warm = stored.boot_id == input.boot_id && !stored.volatile_state.empty();
  // A journal with a first checkpoint exists before its worker does. Without it nobody can say how
  // old the volatile state in the store is: taking it could turn PCRs back.
  if (!journal) return fail(ErrorCode::not_found, "the volatile state is gone");
  if (journal->permanent_version > stored.permanent_version)
    return fail(ErrorCode::corrupt,
                "the journal builds on a newer permanent state than the store has");
  // A tie is the journal's: whatever it added came after the commit to the store.
  if (stored_is_warm && order(stored) > order(*journal)) return stored;
  if (journal->permanent_version != stored.permanent_version)
    return fail(ErrorCode::corrupt,
                "the journal builds on an older permanent state than the store has");
  if (journal->volatile_state.empty())
    return fail(ErrorCode::not_found, "the volatile state is gone");
  journal->permanent = std::move(stored.permanent);
  return *std::move(journal);
}

Checkpoint cold_checkpoint(const std::optional<Checkpoint>& stored, std::uint64_t store_version) {
  Checkpoint cold;
  if (stored) cold.permanent = stored->permanent;
  cold.permanent_version = store_version;
  return cold;
}

}  // namespace vtpm::device
