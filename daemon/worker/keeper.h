// SPDX-License-Identifier: Apache-2.0
// Keeper: sees to it that a command's effect is kept before its reply leaves.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "base/checkpoint.h"
#include "channel/channel.h"
#include "engine/engine.h"
#include "journal/journal.h"
#include "policy/policy.h"
#include "privsep/messages.h"

namespace vtpm::worker {

// Holds the last checkpoint's identity and decides where the next one goes:
//   the permanent state changed  -> the store, through the manager, durably (read-write devices);
//   a replayable command         -> the journal, behind the last checkpoint there, as it came;
//   anything else changed        -> the journal;
//   nothing changed              -> nowhere, but the journal if that is audited.
// A read-only device has no state in the store: both parts go to the journal.
class Keeper {
 public:
  Keeper(int manager, journal::Journal journal, engine::Engine& engine, policy::Mode mode,
         Checkpoint last);

  // The reply of this sequence number, if the checkpoint already holds its effect.
  [[nodiscard]] std::optional<ByteView> reply_of(std::uint64_t sequence) const;
  [[nodiscard]] std::uint64_t last_sequence() const { return last_.sequence; }

  // Keeps what the command did. An error means: the reply must not leave.
  Result<void> keep(const channel::Frame& command, ByteView reply, policy::Effect effect);
  // Keeps the state as it is now, outside any command (power-on, reset).
  Result<void> keep_now();
  // The device is read-write from here on: the store gets all of it, and makes it so.
  Result<void> keep_as_read_write();
  // The final checkpoint of an orderly power-off: permanent state alone.
  Result<void> keep_powered_off();

  // The answer to the last commit, heard a second time: it was asked for again, of a new manager.
  [[nodiscard]] bool heard_before(const privsep::Committed& answer) const {
    return answered_ && answered_->sequence == answer.sequence &&
           answered_->permanent_version == answer.permanent_version;
  }

  // Messages that arrived while a commit was waited for; handled before the next frame.
  std::optional<privsep::Message> take_postponed();

 private:
  Result<void> keep_state(bool permanent_changed);
  Result<void> read_volatile_state();
  Result<void> to_store();
  Result<void> to_journal();

  int manager_;  // not owned
  journal::Journal journal_;
  engine::Engine& engine_;
  policy::Mode mode_;
  Checkpoint last_;               // but for what was done since, if the journal is told of that
  bool audited_ = true;           // somebody may audit what changes nothing
  bool journal_is_last_ = false;  // and not the store: commands can be added to it
  std::optional<privsep::Committed> answered_;  // the last commit
  std::deque<privsep::Message> postponed_;
};

}  // namespace vtpm::worker
