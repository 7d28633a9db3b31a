// SPDX-License-Identifier: Apache-2.0
// Refusals: tells the manager of refused frames, but never more than it can bear.
#pragma once

#include <cstdint>

#include "channel/channel.h"
#include "policy/policy.h"

namespace vtpm::worker {

// A token bucket: 20 reports at once, then one a second. What it holds back is counted and told
// with the next report, so that a client cannot flood the log or hide a refusal in a flood.
class Refusals {
 public:
  explicit Refusals(int manager) : manager_(manager) {}
  void report(const policy::Decision& decision, const channel::Frame& frame);

 private:
  bool take_token();

  int manager_;  // not owned
  std::int64_t last_refill_ms_ = 0;
  double tokens_ = kBurst;
  std::uint32_t suppressed_ = 0;
  static constexpr double kBurst = 20;
};

}  // namespace vtpm::worker
