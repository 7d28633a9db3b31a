// SPDX-License-Identifier: Apache-2.0
#include "device/side_thread.h"

#include <utility>

namespace vtpm::device {

SideThread::~SideThread() {
  {
    const std::scoped_lock lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void SideThread::post(Work work) {
  {
    const std::scoped_lock lock(mutex_);
    waiting_.push_back(std::move(work));
  }
  changed_.notify_one();
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
}

void SideThread::run() {
  for (;;) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
    if (ending_) return;
    const Work work = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    if (Loop::Callback then = work()) (void)loop_.post(std::move(then));
  }
}

}  // namespace vtpm::device
