// SPDX-License-Identifier: Apache-2.0
#include "worker/keeper.h"

#include <malloc.h>

#include <utility>

namespace vtpm::worker {

Keeper::Keeper(int manager, journal::Journal journal, engine::Engine& engine, policy::Mode mode,
               Checkpoint last)
    : manager_(manager),
      journal_(std::move(journal)),
      engine_(engine),
      mode_(mode),
      last_(std::move(last)) {
  // It is taken before libtpms's buffers are, and so that it never moves: what lies behind it, at
  // the end of the heap, is free between two commands.
  last_.volatile_state.reserve(kMaxVolatileState);
  if (mode_ == policy::Mode::read_write) last_.permanent = SecretBytes();  // the store has it
  if (!last_.volatile_state.empty())
    audited_ = engine_.is_audited(last_.volatile_state).value_or(true);
}

std::optional<ByteView> Keeper::reply_of(std::uint64_t sequence) const {
  if (sequence != last_.sequence || last_.reply.empty()) return std::nullopt;
  return last_.reply;
}

Result<void> Keeper::keep(const channel::Frame& command, ByteView reply, policy::Effect effect) {
  const bool permanent_changed = engine_.take_permanent_changed();
  if (!permanent_changed && effect == policy::Effect::none && !audited_) return {};
  last_.sequence = command.sequence;
  assign(last_.reply, reply);
  if (!permanent_changed && effect == policy::Effect::replayable && journal_is_last_ &&
      journal_.append(command.sequence, {command.locality, command.bytes, reply}))
    return {};
  return keep_state(permanent_changed);
}

Result<void> Keeper::keep_now() { return keep_state(engine_.take_permanent_changed()); }

Result<void> Keeper::read_volatile_state() {
  VTPM_CHECK(engine_.read_volatile_state(last_.volatile_state));
  VTPM_TRY(audited_, engine_.is_audited(last_.volatile_state));
  return {};
}

Result<void> Keeper::keep_state(bool permanent_changed) {
  VTPM_CHECK(read_volatile_state());
  // Of a read-write device the store has it; of a read-only one each checkpoint has.
  if (permanent_changed || (mode_ == policy::Mode::read_only && last_.permanent.empty())) {
    VTPM_TRY(last_.permanent, engine_.permanent());
  }
  return permanent_changed && mode_ == policy::Mode::read_write ? to_store() : to_journal();
}

Result<void> Keeper::keep_as_read_write() {
  (void)engine_.take_permanent_changed();
  mode_ = policy::Mode::read_write;
  VTPM_CHECK(read_volatile_state());
  VTPM_TRY(last_.permanent, engine_.permanent());
  return to_store();
}

Result<void> Keeper::keep_powered_off() {
  (void)engine_.take_permanent_changed();
  last_.reply.clear();
  last_.volatile_state.clear();
  VTPM_TRY(last_.permanent, engine_.permanent());
  return mode_ == policy::Mode::read_write ? to_store() : to_journal();
}

Result<void> Keeper::to_journal() {
  VTPM_CHECK(journal_.commit(last_));
  journal_is_last_ = true;
  return {};
}

Result<void> Keeper::to_store() {
  journal_is_last_ = false;
  const std::uint64_t version = last_.permanent_version + 1;
  // Lent to the message, as it can be large.
  privsep::Message commit{privsep::Commit{std::move(last_)}};
  Checkpoint& next = std::get<privsep::Commit>(commit).checkpoint;
  next.permanent_version = version;
  const SecretBytes encoded = encode(commit);
  last_ = std::move(next);
  last_.permanent_version = version - 1;
  VTPM_CHECK(privsep::send_datagram(manager_, encoded));
  for (;;) {
    VTPM_TRY(const privsep::Received received, privsep::receive_datagram(manager_, false));
    if (received.bytes.empty())
      return fail(ErrorCode::unavailable, "the manager is gone while a commit is open");
    VTPM_TRY(privsep::Message message, privsep::decode(received.bytes));
    if (const auto* refused = std::get_if<privsep::Refused>(&message))
      return fail(ErrorCode::unavailable, "the store refuses the commit: " + refused->reason);
    // A new manager may not know of this commit; only the last one may have heard of it.
    if (std::holds_alternative<privsep::Adopt>(message))
      VTPM_CHECK(privsep::send_datagram(manager_, encoded));
    if (const auto* committed = std::get_if<privsep::Committed>(&message)) {
      if (heard_before(*committed)) continue;
      if (committed->sequence != last_.sequence || committed->permanent_version != version)
        return fail(ErrorCode::internal, "the manager answered another commit");
      answered_ = *committed;
      last_.permanent_version = version;
      last_.permanent = SecretBytes();  // the store has it; the journal needs no copy
      (void)::malloc_trim(0);
      return {};
    }
    postponed_.push_back(std::move(message));
  }
}

std::optional<privsep::Message> Keeper::take_postponed() {
  if (postponed_.empty()) return std::nullopt;
  privsep::Message message = std::move(postponed_.front());
  postponed_.pop_front();
  return message;
}

}  // namespace vtpm::worker
