// SPDX-License-Identifier: Apache-2.0
// Which checkpoint counts when a worker has to be started again. Pure.
// Rules: Documentation/design/checkpoint.rst.
#pragma once

#include <cstdint>
#include <optional>

#include "base/checkpoint.h"
#include "base/result.h"
#include "journal/journal.h"

namespace vtpm::device {

struct RecoveryInput {
  BootId boot_id{};                               // of the host, now
  std::uint64_t store_version = 0;                // generation of the record
  std::optional<Checkpoint> stored;               // from the store; none = no identity yet
  std::optional<journal::Folder::Found> journal;  // of the device's last worker
  bool read_only = false;                         // the store holds no state, the journal all
};

// The state at the last command boundary of this power cycle, permanent part included.
// ErrorCode::not_found: there is none (the host has rebooted, or the journal is gone); the device
// can only be powered on anew, which is not the same thing to a client that is still there.
// ErrorCode::corrupt: store and journal contradict each other; the device has failed.
Result<Checkpoint> newest_checkpoint(RecoveryInput input);

// What a device starts from when its power comes on: permanent state, nothing volatile.
Checkpoint cold_checkpoint(const std::optional<Checkpoint>& stored, std::uint64_t store_version);

}  // namespace vtpm::device
