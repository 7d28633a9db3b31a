// SPDX-License-Identifier: Apache-2.0
#include "device/crash_history.h"

namespace vtpm::device {
namespace {

constexpr std::chrono::seconds kWindow{60};
constexpr std::size_t kMaxCrashes = 3;  // in the window
constexpr std::size_t kMaxDeaths = 5;   // in the window, errors that the worker reported included

}  // namespace

std::optional<std::string> CrashHistory::add(Time now, bool crash,
                                             std::optional<std::uint64_t> sequence) {
  deaths_.push_back(now);
  while (now - deaths_.front() > kWindow) deaths_.pop_front();
  if (crash && sequence) {
    crashes_on_sequence_ = sequence_ == sequence ? crashes_on_sequence_ + 1 : 1;
    sequence_ = sequence;
    if (crashes_on_sequence_ >= 2)
      return "two workers crashed on command " + std::to_string(*sequence);
  }
  if (deaths_.size() >= (crash ? kMaxCrashes : kMaxDeaths)) return "its workers keep dying";
  return std::nullopt;
}

void CrashHistory::forget() {
  deaths_.clear();
  sequence_.reset();
  crashes_on_sequence_ = 0;
}

}  // namespace vtpm::device
