// SPDX-License-Identifier: Apache-2.0
// Parking: which devices have a process. One that is idle loses it and keeps its node; the command
// that comes next wakes it (Documentation/design/checkpoint.rst, "Parking").
//
// Costs nothing for a command: how long a device is idle is read off sequence numbers, the module's
// or, of a device on a socket, its worker's, at a coarse timer. A socket's worker holds the
// connections of its clients, so it is not parked as long as somebody is connected.
// Owned by the Manager, used on the loop's thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "device/device.h"
#include "device/loop.h"

namespace vtpm::device {

inline constexpr std::uint32_t kLongestParkAfter = 30 * 24 * 3600;  // seconds

struct ParkingOptions {
  std::uint32_t park_after_s = 0;  // of devices that do not say it themselves; 0 = never
  // Workers at a time. Beyond it a device that wants one waits until another one was parked, the
  // least recently used; 0 = no limit. It is soft: see kPatience.
  std::uint32_t max_active = 0;
};

// INVALID_ARGUMENT: its time is too long.
Result<void> check_parking(const store::Settings& settings);

class Parking {
 public:
  using Devices = std::map<Uuid, std::unique_ptr<Device>>;
  Parking(Loop& loop, KernelControl* kernel, const Devices& devices, ParkingOptions options)
      : loop_(loop), kernel_(kernel), devices_(devices), options_(options) {}
  ~Parking();

  // Looks for idle devices from now on, if any can be. Call it again when there is a new device.
  void look();
  // The time of a device was changed: the next look may have to come earlier.
  void look_anew();
  // A device was started, or brought back: another one may have to go.
  void keep_limit();
  // The device has a worker from now on, or has none any more.
  void has_worker(const Uuid& uuid, bool has);
  // A command waits at a device that has no worker; nothing happens unless it is parked.
  void wanted(const Uuid& uuid);
  // A person's order. The device is parked when `done` is called, or was wanted again already.
  void park(Device& device, Device::Done done);
  // At the manager's start: may the device stay without a worker until a command comes?
  [[nodiscard]] bool may_sleep(const Device& device) const;
  // At the manager's end: nobody is woken or parked any more.
  void end();

 private:
  using Clock = std::chrono::steady_clock;
  struct Seen {
    std::uint64_t sequence = 0;
    bool busy = false;  // a command waits, or somebody would notice that the worker is gone
  };
  using Nodes = std::map<Uuid, Seen>;
  struct Use {
    std::uint64_t sequence = 0;  // of the last command that was seen
    Clock::time_point since;     // when `sequence` was seen first
  };

  [[nodiscard]] std::uint32_t park_after(const Device& device) const;
  Nodes look_at_nodes();
  [[nodiscard]] std::optional<Seen> look_at(const Device& device);
  void ask_sockets();
  [[nodiscard]] bool command_waits(const Uuid& uuid);
  void park_idle();
  bool make_room(const Nodes& nodes);
  void keep_limit(const Nodes& nodes);
  void start_park(Device& device, Device::Done done);
  void wake_first();
  void serve_queue();

  Loop& loop_;
  KernelControl* kernel_;  // null: --no-kernel
  const Devices& devices_;
  ParkingOptions options_;
  std::set<Uuid> active_;       // have a worker: a few of many, and all that is looked at often
  std::map<Uuid, Use> uses_;    // of those that can be parked
  std::deque<Uuid> queue_;      // wanted, and waiting for room
  Clock::time_point progress_;  // when one of them was woken last
  std::size_t parking_ = 0;     // workers that were told to go
  Loop::TimerId idle_timer_ = 0;
  Loop::TimerId queue_timer_ = 0;
  bool ended_ = false;
};

}  // namespace vtpm::device
