// SPDX-License-Identifier: Apache-2.0
// Quota: how much the store may have to hold. Checked when a device is made, so that none that
// exists ever runs out of it.
//
// A read-write device counts with the most that its record can become. What its client can fill is
// bounded by libtpms: a full NV memory answers TPM_RC_NV_SPACE, and all that does not grow goes on.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "store/store.h"

namespace vtpm::device {

struct Quota {
  std::uint64_t store_bytes = 0;        // 0 = no limit
  std::uint32_t devices_per_owner = 0;  // 0 = no limit; devices without an owner have none
};

// Records that count against the quota, as they are now.
struct Holdings {
  std::uint64_t read_write = 0;  // snapshots are
  std::uint64_t read_only = 0;
  std::uint64_t retired = 0;
  std::uint64_t of_owner = 0;  // of the owner that asks
};

// A record's share of the store, its pages of the index included.
inline constexpr std::uint64_t kReadWriteShare = store::kMaxStateBlob + store::kMaxLineage;
inline constexpr std::uint64_t kReadOnlyShare = 4096;
inline constexpr std::uint64_t kRetiredShare = store::kMaxLineage;

// A snapshot or a retired record is none of an owner's devices.
bool counts_for_owner(const store::Settings& settings);

// FULL, if one more device would be too much for its owner.
Result<void> check_owner_quota(const Quota& quota, const Holdings& now, const std::string& owner);
// FULL, if one more device of these settings would be too much.
Result<void> check_quota(const Quota& quota, const Holdings& now, const store::Settings& wanted);

}  // namespace vtpm::device
