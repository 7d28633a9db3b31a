// SPDX-License-Identifier: Apache-2.0
// WriteBudget: how often a device may change its permanent state. Each such change is a transaction
// that waits for the disk, on the thread that serves every device of the host; a client that causes
// them in a loop shall wait itself.
//
// A token bucket: `burst` writes at once, then `per_second`. It says how long a write waits and
// holds no timer; time comes from the caller. Used on the loop's thread.
#pragma once

#include <chrono>
#include <cstdint>

namespace vtpm::device {

struct WriteLimit {
  std::uint32_t per_second = 20;  // 0 = no limit
  std::uint32_t burst = 64;       // at least 1
};

class WriteBudget {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;

  // No wait is longer than `longest`: the command that writes has a time-out. What a wait that was
  // cut short would have cost is forgiven.
  WriteBudget(const WriteLimit& limit, Duration longest) : limit_(limit), longest_(longest) {}

  // Pays for a write; the answer to it must wait this long.
  Duration take(Time now);

 private:
  WriteLimit limit_;
  Duration longest_;
  Time full_at_{};  // when everything that was taken will have come back
};

}  // namespace vtpm::device
