// SPDX-License-Identifier: Apache-2.0
// Bulletin: what happened to devices, for those who watch, and the refused commands of late.
// Every call may come from any thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/uuid.h"
#include "device/view.h"

namespace vtpm::device {

struct Refusal {
  Uuid uuid;
  std::string name;
  std::int64_t time_ns = 0;  // since 1970
  std::uint32_t command_code = 0;
  std::uint8_t reason = 0;  // policy::Reason
  std::uint32_t locality = 0;
  std::uint32_t response_code = 0;
  std::uint64_t sequence = 0;
  std::uint32_t suppressed = 0;
};

struct Notice {
  enum class Kind : std::uint8_t { created, state_changed, denied, deleted, worker_replaced };
  Kind kind = Kind::state_changed;
  std::int64_t time_ns = 0;
  View view;
  std::optional<Refusal> refusal;
};

class Bulletin {
 public:
  // One watcher. A watcher that does not read loses the oldest notices, never delays anybody.
  class Subscription {
   public:
    // Waits for the next notice; nullopt after `timeout` without one or when closed.
    std::optional<Notice> next(std::chrono::milliseconds timeout);
    [[nodiscard]] bool closed();

   private:
    friend class Bulletin;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Notice> queue_;
    bool closed_ = false;
  };

  void post(Notice::Kind kind, const View& view);
  void post_refusal(const View& view, Refusal refusal);
  std::shared_ptr<Subscription> subscribe();
  void close();  // ends every subscription

  // Newest last. `uuid` empty = of all devices.
  std::vector<Refusal> refusals(const std::optional<Uuid>& uuid, std::size_t limit);
  void forget(const Uuid& uuid);

 private:
  void deliver(const Notice& notice);

  std::mutex mutex_;
  std::vector<std::weak_ptr<Subscription>> subscribers_;
  std::map<Uuid, std::deque<Refusal>> refusals_;
  bool closed_ = false;
};

}  // namespace vtpm::device
