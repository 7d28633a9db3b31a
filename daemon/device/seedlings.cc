// SPDX-License-Identifier: Apache-2.0
#include "device/seedlings.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace vtpm::device {

using privsep::IdentityProfile;

void Seedlings::begin(IdentityProfile profile) {
  if (ended_ || !privsep::has_rsa_key(profile)) return;
  wanted_.assign(bound_, profile);
  look_later(pace_.quiet);
}

SecretBytes Seedlings::take(IdentityProfile profile) {
  if (ended_ || bound_ == 0 || !privsep::has_rsa_key(profile)) return {};
  wanted_.push_back(profile);
  if (wanted_.size() > bound_) wanted_.pop_front();
  SecretBytes taken;
  if (const auto found = std::ranges::find(ready_, profile, &Seedling::profile);
      found != ready_.end()) {
    taken = std::move(found->state);
    ready_.erase(found);
  }
  forget_unwanted();
  look_later(pace_.quiet);
  return taken;
}

void Seedlings::distrust() {
  ready_.clear();
  if (!ended_) failed("no identity came of one");
}

void Seedlings::end() {
  ended_ = true;
  ready_.clear();
  if (look_timer_ != 0) loop_.cancel(std::exchange(look_timer_, 0));
  if (limit_timer_ != 0) loop_.cancel(std::exchange(limit_timer_, 0));
  if (making_) work_.cancel("vtpmd ends");
}

bool Seedlings::is_missing(IdentityProfile profile) const {
  return std::ranges::count(ready_, profile, &Seedling::profile) <
         std::ranges::count(wanted_, profile);
}

// What was wanted before that made room for what is wanted now.
void Seedlings::forget_unwanted() {
  for (const IdentityProfile profile : {IdentityProfile::standard, IdentityProfile::full})
    while (std::ranges::count(ready_, profile, &Seedling::profile) >
           std::ranges::count(wanted_, profile))
      ready_.erase(std::ranges::find(ready_, profile, &Seedling::profile));
}

void Seedlings::look_later(std::chrono::milliseconds delay) {
  if (look_timer_ != 0) loop_.cancel(look_timer_);
  const auto rest = std::chrono::ceil<std::chrono::milliseconds>(not_before_ - Clock::now());
  look_timer_ = loop_.after(std::max(delay, rest), [this] {
    look_timer_ = 0;
    look();
  });
}

void Seedlings::look() {
  const auto next = std::ranges::find_if(wanted_, [this](auto p) { return is_missing(p); });
  if (making_ || next == wanted_.end()) return;
  if (!work_.is_quiet()) return look_later(pace_.quiet);
  const auto begun = work_.begin(*next, [this, profile = *next](Result<MadeIdentity> made) {
    on_made(profile, std::move(made));
  });
  if (!begun) return failed(begun.error().message);
  making_ = true;
  limit_timer_ = loop_.after(pace_.limit, [this] {
    limit_timer_ = 0;
    work_.cancel("it was not ready in time");
  });
}

void Seedlings::on_made(IdentityProfile profile, Result<MadeIdentity> made) {
  making_ = false;
  if (limit_timer_ != 0) loop_.cancel(std::exchange(limit_timer_, 0));
  if (ended_) return;
  if (!made) return failed(made.error().message);
  failure_.clear();
  pause_ = {};
  if (is_missing(profile)) ready_.push_back({profile, std::move(made->permanent)});
  log::debug("an identity was begun ahead of need", {{"ready", std::to_string(ready_.size())}});
  if (look_timer_ == 0) look_later({});
}

// Pauses grow, so lines in the log do not follow each other quickly.
void Seedlings::failed(const std::string& why) {
  failure_ = why;
  pause_ = std::clamp(pause_ * 2, pace_.first_pause, pace_.longest_pause);
  not_before_ = Clock::now() + pause_;
  log::warning("no identity is begun ahead of need",
               {{"why", why}, {"again_in_ms", std::to_string(pause_.count())}});
  look_later(pause_);
}

}  // namespace vtpm::device
