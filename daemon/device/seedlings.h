// SPDX-License-Identifier: Apache-2.0
// Seedlings: identities that were begun ahead of need (privsep::MakeAhead), for devices to come.
//
// One is the secret state of a TPM that is nobody's yet. It is in this process's memory alone and
// serves one identity at most. There are as many as identities with an RSA key were wanted lately,
// each with the profile that was wanted, and never more than the bound. They are made when nobody
// waits for a device, one at a time, so whoever comes in between makes its keys as if there were no
// pool. Owned by the Manager, used on the loop's thread. Source: Documentation/design/identity.rst.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "device/identity_maker.h"
#include "device/loop.h"

namespace vtpm::device {

inline constexpr std::uint32_t kMostSeedlings = 64;

class Seedlings {
 public:
  struct Work {
    // Begins one. If it succeeds, the second follows once, later.
    std::function<Result<void>(privsep::IdentityProfile, IdentityMaker::Done)> begin;
    std::function<void(const std::string& why)> cancel;  // what was begun: its end follows
    std::function<bool()> is_quiet;                      // nobody waits for a device
  };
  struct Pace {
    std::chrono::milliseconds quiet{1000};  // after an identity was wanted, or when it is not quiet
    std::chrono::milliseconds limit{120'000};  // for one, on a host that has no time for it
    std::chrono::milliseconds first_pause{10'000}, longest_pause{600'000};  // after failures
  };
  Seedlings(Loop& loop, std::size_t bound, Work work, Pace pace)
      : loop_(loop), bound_(bound), work_(std::move(work)), pace_(pace) {}
  Seedlings(Loop& loop, std::size_t bound, Work work)
      : Seedlings(loop, bound, std::move(work), Pace{}) {}
  ~Seedlings() { end(); }
  Seedlings(const Seedlings&) = delete;
  Seedlings& operator=(const Seedlings&) = delete;

  // From now on there are to be as many as there may be, of this profile if it has an RSA key.
  void begin(privsep::IdentityProfile profile);
  // For an identity that is made now, whatever becomes of it; empty: there is none.
  SecretBytes take(privsep::IdentityProfile profile);
  // No identity came of one that was taken: the others are wiped, too, as it may have been the
  // cause.
  void distrust();
  // At the manager's end: all are wiped, and there will be no more.
  void end();

  [[nodiscard]] std::size_t bound() const { return bound_; }
  [[nodiscard]] std::size_t ready() const { return ready_.size(); }
  [[nodiscard]] std::size_t wanted() const { return wanted_.size(); }
  // Why the last one was not made; empty: it was.
  [[nodiscard]] const std::string& failure() const { return failure_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Seedling {
    privsep::IdentityProfile profile;
    SecretBytes state;
  };
  [[nodiscard]] bool is_missing(privsep::IdentityProfile profile) const;
  void forget_unwanted();
  void look_later(std::chrono::milliseconds delay);
  void look();
  void on_made(privsep::IdentityProfile profile, Result<MadeIdentity> made);
  void failed(const std::string& why);

  Loop& loop_;
  std::size_t bound_;
  Work work_;
  Pace pace_;
  std::vector<Seedling> ready_;
  std::deque<privsep::IdentityProfile> wanted_;  // lately, at most bound_ of them
  bool making_ = false;
  bool ended_ = false;
  std::string failure_;
  std::chrono::milliseconds pause_{};  // after the last failure
  Clock::time_point not_before_;       // the end of that pause
  Loop::TimerId look_timer_ = 0;
  Loop::TimerId limit_timer_ = 0;
};

}  // namespace vtpm::device
