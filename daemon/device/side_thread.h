// SPDX-License-Identifier: Apache-2.0
// SideThread: work that may take seconds, one after another, away from the loop; what follows from
// it happens on the loop again.
//
// post() on the loop's thread. The thread begins with the first work, and ends with this object:
// after the work that it is at; the rest is forgotten.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "device/loop.h"

namespace vtpm::device {

class SideThread {
 public:
  // Runs on the thread; what it returns, if anything, runs on the loop.
  using Work = std::function<Loop::Callback()>;

  explicit SideThread(Loop& loop) : loop_(loop) {}
  SideThread(const SideThread&) = delete;
  SideThread& operator=(const SideThread&) = delete;
  SideThread(SideThread&&) = delete;
  SideThread& operator=(SideThread&&) = delete;
  ~SideThread();

  void post(Work work);

 private:
  void run();

  Loop& loop_;
  std::mutex mutex_;  // guards waiting_ and ending_
  std::condition_variable changed_;
  std::deque<Work> waiting_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace vtpm::device
