// SPDX-License-Identifier: Apache-2.0
// Checkpoint: everything a vTPM is, at a command boundary.
//
// A reply leaves only after a checkpoint that holds its effect is kept: in the store if the
// permanent state changed, else in the journal (Documentation/design/checkpoint.rst). Stopping,
// restarting a crashed worker, parking, snapshot, clone and migration all take a checkpoint and
// start from one; there is no second way to carry a vTPM from one process to another.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace vtpm {

using BootId = std::array<std::byte, 16>;   // /proc/sys/kernel/random/boot_id: one boot of the host
using PowerId = std::array<std::byte, 16>;  // one power cycle of a kernel node (uapi/linux/vtpm.h)

// Limits, checked wherever a checkpoint comes from another process or a file. A client that
// fills the NV memory of libtpms 0.9.2 gets to a permanent state of 153 KiB (engine/room_test.cc);
// a volatile state has been seen up to 11 KiB.
inline constexpr std::size_t kMaxPermanentState = std::size_t{160} * 1024;
inline constexpr std::size_t kMaxVolatileState = std::size_t{32} * 1024;
inline constexpr std::size_t kMaxReply = 4096;
inline constexpr std::size_t kMaxRedo = std::size_t{3} * 1024;  // of all of them, encoded

// A command that was executed after the volatile state was taken, and is executed again after that
// is loaded. Only a command whose effect and reply follow from frame, locality and state alone
// (policy::Effect::replayable) may be kept so: it is far less to write than a volatile state.
struct RedoView {
  std::uint8_t locality = 0;
  ByteView command;
  ByteView reply;  // what it answered; what it answers again, or the checkpoint is corrupt
};
struct Redo {
  std::uint8_t locality = 0;
  SecretBytes command;
  SecretBytes reply;
  // NOLINTNEXTLINE(google-explicit-constructor): as a vector is a view of its bytes
  operator RedoView() const { return {locality, command, reply}; }
};

struct Checkpoint {
  BootId boot_id{};                     // the volatile part counts only in the same boot
  std::uint64_t incarnation = 0;        // of the worker that made it; grows with every attach
  std::uint64_t permanent_version = 0;  // of the permanent state that volatile_state builds on
  std::uint64_t sequence = 0;           // of the last command whose effect is inside; 0 = none
  SecretBytes permanent;                // libtpms permanent blob; empty = as the store has it
  SecretBytes volatile_state;           // libtpms volatile blob; empty = powered off
  SecretBytes reply;                    // to the command `sequence`; sent again if asked again
  std::vector<Redo> redo;               // in order; `sequence` and `reply` are the last one's
};

// The one encoding, in journal slots, in messages and inside sealed records. decode() refuses
// anything that encode() cannot have made.
SecretBytes encode(const Checkpoint& checkpoint);
std::size_t encoded_size(const Checkpoint& checkpoint);
void write(SpanWriter& out, const Checkpoint& checkpoint);  // the same, where it is to be
Result<Checkpoint> decode_checkpoint(ByteView bytes);

// A command to be redone, in a checkpoint and in a journal's list; encoded_size() is what it takes
// of kMaxRedo. Of read_redo() the reader tells whether there was one.
std::size_t encoded_size(const RedoView& redo);
std::size_t encoded_size(const std::vector<Redo>& all);
void write_redo(SpanWriter& out, const RedoView& redo);
Redo read_redo(Reader& in);

}  // namespace vtpm
