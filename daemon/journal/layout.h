// SPDX-License-Identifier: Apache-2.0
// The journal file, byte by byte. Internal to journal/.
//
//   0                 header page: see encode_header()
//   4096              slot 0
//   4096 + kSlotSize  slot 1
//   kRedoOffset       commands executed since the newest slot; version 1 of the format has none
//
// A slot:
//   0   UINT64, the host's byte order: commit word. 0 = the slot is empty or being written, else
//       the number of this commit, counted from 1 over both slots: the greater one is the newer.
//   8   UINT32, big-endian: length of the checkpoint
//   16  the checkpoint, as base/checkpoint.h encodes it
//
// The commit number, not the command's sequence, orders the slots: a checkpoint may be written
// again under the same sequence, and sequence 0 (no command yet) is a checkpoint too.
//
// A command to be redone, one behind the other, each on a multiple of 8:
//   0   UINT64, the host's byte order: the commit number of the slot that it follows; any other
//       number = there is none here, and none behind
//   8   UINT32, big-endian: length of what follows
//   12  UINT64 sequence, UINT8 locality, UINT32 size + command, UINT32 size + reply
// So a new slot ends the list by its number alone. Before a command is made to count, the word
// behind it is cleared: what lay there can be anything, also what a client sent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/checkpoint.h"
#include "base/result.h"
#include "journal/journal.h"

namespace vtpm::journal {

inline constexpr std::uint32_t kVersionWithoutRedo = 1;
inline constexpr std::uint32_t kVersion = 2;
inline constexpr std::size_t kPageSize = 4096;
inline constexpr std::size_t kSlotHeader = 16;
inline constexpr std::size_t kCheckpointOverhead = 256;  // fields and lengths around its parts
inline constexpr std::size_t kMaxEncoded =
    kMaxPermanentState + kMaxVolatileState + kMaxReply + kMaxRedo + kCheckpointOverhead;
inline constexpr std::size_t kSlotSize =
    (kSlotHeader + kMaxEncoded + kPageSize - 1) / kPageSize * kPageSize;
inline constexpr std::size_t kSlots = 2;
inline constexpr std::size_t kRedoOffset = kPageSize + kSlots * kSlotSize;
inline constexpr std::size_t kRedoSize = kMaxRedo;  // so what fits here fits a checkpoint
inline constexpr std::size_t kRedoHeader = 12;
inline constexpr std::size_t kFileSize = kRedoOffset + kPageSize;

inline constexpr std::size_t slot_offset(std::uint64_t commit_number) {
  return kPageSize + commit_number % kSlots * kSlotSize;
}

Bytes encode_header(const Header& header);  // a whole page
Result<Header> decode_header(ByteView page, std::uint32_t version = kVersion);

// Where the entry behind one with `length` bytes begins.
inline constexpr std::size_t behind(std::size_t entry, std::size_t length) {
  constexpr std::size_t alignment = sizeof(std::uint64_t);
  return (entry + kRedoHeader + length + alignment - 1) / alignment * alignment;
}

// What is wrong with committing this checkpoint to a journal with this header, if anything.
Result<void> check(const Header& header, const Checkpoint& checkpoint);

}  // namespace vtpm::journal
