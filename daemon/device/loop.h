// SPDX-License-Identifier: Apache-2.0
// Loop: the one thread that owns every device's state. Descriptors, timers and posted work.
//
// post() and stop() may be called from any thread; everything else on the loop's thread (or before
// run()). Callbacks run one at a time, so what they touch needs no lock.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace vtpm::device {

class Loop {
 public:
  using Callback = std::function<void()>;
  static Result<std::unique_ptr<Loop>> make();

  // Calls `readable` whenever `fd` (not owned) is readable or hung up. One callback per fd.
  Result<void> watch(int fd, Callback readable);
  void unwatch(int fd);

  using TimerId = std::uint64_t;
  TimerId after(std::chrono::milliseconds delay, Callback callback);
  void cancel(TimerId timer);

  // False: run() has returned, and `work` never runs.
  bool post(Callback work);
  // After the callbacks of each round: where commits of many devices become one transaction.
  void set_round_end(Callback callback) { round_end_ = std::move(callback); }

  void run();  // until stop(), once; what was posted until then has run when it returns
  void stop();

 private:
  Loop(UniqueFd epoll, UniqueFd wakeup) : epoll_(std::move(epoll)), wakeup_(std::move(wakeup)) {}
  int next_timeout() const;
  void run_timers();
  void run_posted();

  using Clock = std::chrono::steady_clock;
  struct Timer {
    TimerId id;
    Callback callback;
  };
  UniqueFd epoll_;
  UniqueFd wakeup_;
  std::map<int, std::shared_ptr<Callback>> watched_;
  std::multimap<Clock::time_point, Timer> timers_;
  TimerId next_timer_ = 1;
  Callback round_end_;
  std::mutex mutex_;  // guards posted_, stopping_ and ended_
  std::vector<Callback> posted_;
  bool stopping_ = false;
  bool ended_ = false;
};

}  // namespace vtpm::device
