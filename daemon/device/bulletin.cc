// SPDX-License-Identifier: Apache-2.0
#include "device/bulletin.h"

#include <algorithm>
#include <chrono>

namespace vtpm::device {
namespace {

constexpr std::size_t kQueueLimit = 1024;   // notices a slow watcher may be behind
constexpr std::size_t kRefusalsKept = 256;  // of each device

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

std::string_view to_string(Phase phase) {
  switch (phase) {
    case Phase::off: return "off";
    case Phase::starting: return "starting";
    case Phase::on: return "on";
    case Phase::parked: return "parked";
    case Phase::detached: return "detached";
    case Phase::stopping: return "stopping";
    case Phase::failed: return "failed";
  }
  return "failed";
}

std::optional<Notice> Bulletin::Subscription::next(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [this] { return closed_ || !queue_.empty(); });
  if (queue_.empty()) return std::nullopt;
  Notice notice = std::move(queue_.front());
  queue_.pop_front();
  return notice;
}

bool Bulletin::Subscription::closed() {
  const std::scoped_lock lock(mutex_);
  return closed_ && queue_.empty();
}

void Bulletin::post(Notice::Kind kind, const View& view) {
  deliver(Notice{kind, now_ns(), view, std::nullopt});
}

void Bulletin::post_refusal(const View& view, Refusal refusal) {
  refusal.time_ns = now_ns();
  {
    const std::scoped_lock lock(mutex_);
    auto& kept = refusals_[refusal.uuid];
    kept.push_back(refusal);
    if (kept.size() > kRefusalsKept) kept.pop_front();
  }
  deliver(Notice{Notice::Kind::denied, refusal.time_ns, view, refusal});
}

void Bulletin::deliver(const Notice& notice) {
  const std::scoped_lock lock(mutex_);
  std::erase_if(subscribers_, [](const auto& weak) { return weak.expired(); });
  for (const auto& weak : subscribers_) {
    const auto subscriber = weak.lock();
    if (!subscriber) continue;
    const std::scoped_lock queue_lock(subscriber->mutex_);
    if (subscriber->queue_.size() >= kQueueLimit) subscriber->queue_.pop_front();
    subscriber->queue_.push_back(notice);
    subscriber->changed_.notify_one();
  }
}

std::shared_ptr<Bulletin::Subscription> Bulletin::subscribe() {
  auto subscription = std::make_shared<Subscription>();
  const std::scoped_lock lock(mutex_);
  subscription->closed_ = closed_;
  subscribers_.push_back(subscription);
  return subscription;
}

void Bulletin::close() {
  const std::scoped_lock lock(mutex_);
  closed_ = true;
  for (const auto& weak : subscribers_) {
    const auto subscriber = weak.lock();
    if (!subscriber) continue;
    const std::scoped_lock queue_lock(subscriber->mutex_);
    subscriber->closed_ = true;
    subscriber->changed_.notify_all();
  }
}

std::vector<Refusal> Bulletin::refusals(const std::optional<Uuid>& uuid, std::size_t limit) {
  const std::scoped_lock lock(mutex_);
  std::vector<Refusal> all;
  for (const auto& [owner, kept] : refusals_)
    if (!uuid || *uuid == owner) all.insert(all.end(), kept.begin(), kept.end());
  std::ranges::stable_sort(all, {}, &Refusal::time_ns);
  if (limit != 0 && all.size() > limit)
    all.erase(all.begin(), all.end() - static_cast<std::ptrdiff_t>(limit));
  return all;
}

void Bulletin::forget(const Uuid& uuid) {
  const std::scoped_lock lock(mutex_);
  refusals_.erase(uuid);
}

}  // namespace vtpm::device
