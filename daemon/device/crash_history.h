// SPDX-License-Identifier: Apache-2.0
// CrashHistory: when to give a device up. Pure but for the clock its caller reads.
//
// Two crashes on one frame, or too many deaths in a minute: trying again would be an oracle for an
// attacker and a loop for everybody else. Deaths that somebody outside ordered are not told to it.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

namespace vtpm::device {

class CrashHistory {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // A worker died by its own fault. `sequence`: of the command in flight, where it is known.
  // Returns why the device must fail now; nullopt: another worker may try.
  std::optional<std::string> add(Time now, bool crash, std::optional<std::uint64_t> sequence);
  void forget();

 private:
  std::deque<Time> deaths_;
  std::optional<std::uint64_t> sequence_;  // of the last crash
  int crashes_on_sequence_ = 0;
};

}  // namespace vtpm::device
