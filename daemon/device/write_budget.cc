// SPDX-License-Identifier: Apache-2.0
#include "device/write_budget.h"

#include <algorithm>

namespace vtpm::device {

WriteBudget::Duration WriteBudget::take(Time now) {
  if (limit_.per_second == 0) return Duration::zero();
  const Duration price = Duration(std::chrono::seconds(1)) / limit_.per_second;
  full_at_ = std::max(full_at_, now) + price;
  // The bucket can be short of `burst` tokens, and of no more.
  const Duration debt = std::max(full_at_ - now - price * limit_.burst, Duration::zero());
  const Duration wait = std::min(debt, longest_);
  full_at_ -= debt - wait;
  return wait;
}

}  // namespace vtpm::device
