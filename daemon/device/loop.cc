// SPDX-License-Identifier: Apache-2.0
#include "device/loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace vtpm::device {

Result<std::unique_ptr<Loop>> Loop::make() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  UniqueFd wakeup(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll || !wakeup) return fail_errno("cannot make an event loop", errno);
  std::unique_ptr<Loop> loop(new Loop(std::move(epoll), std::move(wakeup)));
  VTPM_CHECK(loop->watch(loop->wakeup_.get(), [raw = loop.get()] {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(raw->wakeup_.get(), &count, sizeof count);
  }));
  return loop;
}

Result<void> Loop::watch(int fd, Callback readable) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return fail_errno("cannot watch a descriptor", errno);
  watched_[fd] = std::make_shared<Callback>(std::move(readable));
  return {};
}

void Loop::unwatch(int fd) {
  if (watched_.erase(fd) != 0) (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

Loop::TimerId Loop::after(std::chrono::milliseconds delay, Callback callback) {
  const TimerId id = next_timer_++;
  timers_.emplace(Clock::now() + delay, Timer{id, std::move(callback)});
  return id;
}

void Loop::cancel(TimerId timer) {
  const auto found = std::ranges::find_if(
      timers_, [timer](const auto& entry) { return entry.second.id == timer; });
  if (found != timers_.end()) timers_.erase(found);
}

bool Loop::post(Callback work) {
  {
    const std::scoped_lock lock(mutex_);
    if (ended_) return false;
    posted_.push_back(std::move(work));
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = ::write(wakeup_.get(), &one, sizeof one);
  return true;
}

void Loop::stop() {
  post([this] {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  });
}

int Loop::next_timeout() const {
  if (timers_.empty()) return -1;
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(timers_.begin()->first - Clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
}

void Loop::run_timers() {
  while (!timers_.empty() && timers_.begin()->first <= Clock::now()) {
    auto node = timers_.extract(timers_.begin());
    node.mapped().callback();
  }
}

void Loop::run_posted() {
  std::vector<Callback> work;
  {
    const std::scoped_lock lock(mutex_);
    work.swap(posted_);
  }
  for (Callback& callback : work) callback();
}

void Loop::run() {
  for (;;) {
    std::array<epoll_event, 64> events{};
    const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), next_timeout());
    for (int i = 0; i < count; i++) {
      // Looked up at each step: an earlier callback of this round may have unwatched it.
      const auto found = watched_.find(events[static_cast<std::size_t>(i)].data.fd);
      if (found == watched_.end()) continue;
      const std::shared_ptr<Callback> callback = found->second;
      (*callback)();
    }
    run_timers();
    run_posted();
    if (round_end_) round_end_();
    const std::scoped_lock lock(mutex_);
    if (stopping_ && posted_.empty()) {
      ended_ = true;
      return;
    }
  }
}

}  // namespace vtpm::device
