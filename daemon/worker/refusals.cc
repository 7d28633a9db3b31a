// SPDX-License-Identifier: Apache-2.0
#include "worker/refusals.h"

#include <algorithm>
#include <chrono>

#include "privsep/messages.h"

namespace vtpm::worker {

bool Refusals::take_token() {
  const std::int64_t now = std::chrono::duration_cast<std::chrono::milliseconds>(
                               std::chrono::steady_clock::now().time_since_epoch())
                               .count();
  tokens_ = std::min(kBurst, tokens_ + static_cast<double>(now - last_refill_ms_) / 1000.0);
  last_refill_ms_ = now;
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

void Refusals::report(const policy::Decision& decision, const channel::Frame& frame) {
  if (!take_token()) {
    suppressed_++;
    return;
  }
  const privsep::Denied message{
      .command_code = decision.code,
      .reason = static_cast<std::uint8_t>(decision.reason),
      .locality = frame.locality,
      .rc = decision.rc,
      .sequence = frame.sequence,
      .suppressed = suppressed_,
  };
  // A manager that is busy must not slow this device down: what it cannot take is counted.
  if (privsep::send_datagram(manager_, privsep::encode(privsep::Message{message}), {}, true))
    suppressed_ = 0;
  else
    suppressed_++;
}

}  // namespace vtpm::worker
