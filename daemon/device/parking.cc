// SPDX-License-Identifier: Apache-2.0
#include "device/parking.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace vtpm::device {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// An idle device is noticed after its time and at most a quarter more.
constexpr int kLooksAPeriod = 4;
constexpr seconds kShortestLook{1};
constexpr seconds kLongestLook{60};
constexpr seconds kLimitLook{5};  // if there is only a limit of workers to be kept
// A worker on a socket answers between two commands, or is busy.
constexpr milliseconds kAnswerTime{200};
// While devices wait for room: how often it is looked whether one has finished its command.
constexpr milliseconds kQueueLook{50};
// Nobody could be parked for so long: a device that waits gets its worker beyond the limit, for its
// client waits too.
constexpr seconds kPatience{2};

}  // namespace

Result<void> check_parking(const store::Settings& settings) {
  if (settings.park_after_s.value_or(0) > kLongestParkAfter)
    return fail(ErrorCode::invalid_argument, "a device is parked after 30 days at the latest",
                "0 is never");
  return {};
}

Parking::~Parking() { end(); }

void Parking::end() {
  ended_ = true;
  queue_.clear();
  if (idle_timer_ != 0) loop_.cancel(std::exchange(idle_timer_, 0));
  if (queue_timer_ != 0) loop_.cancel(std::exchange(queue_timer_, 0));
}

std::uint32_t Parking::park_after(const Device& device) const {
  return device.record().settings.park_after_s.value_or(options_.park_after_s);
}

bool Parking::may_sleep(const Device& device) const {
  return park_after(device) != 0 || options_.max_active != 0;
}

void Parking::has_worker(const Uuid& uuid, bool has) {
  if (has)
    active_.insert(uuid);
  else
    active_.erase(uuid);
}

std::optional<Parking::Seen> Parking::look_at(const Device& device) {
  if (const auto use = device.use()) return Seen{use->sequence, use->connected};
  if (kernel_ == nullptr || is_on_socket(device.record().settings)) return std::nullopt;
  const auto node = kernel_->info(device.uuid());
  if (!node) log::warning("cannot see whether a device is idle", {{"why", node.error().message}});
  if (!node || !*node || (*node)->state == VTPM_STATE_DEAD) return std::nullopt;
  return Seen{(*node)->sequence, ((*node)->conditions & VTPM_COND_BUSY) != 0};
}

// Reads what every node with a worker has carried, and remembers since when that is so.
Parking::Nodes Parking::look_at_nodes() {
  Nodes nodes;
  const Clock::time_point now = Clock::now();
  for (const Uuid& uuid : active_) {
    const Device& device = *devices_.at(uuid);
    const auto node = look_at(device);
    if (!node) continue;
    nodes.emplace(uuid, *node);
    if (!device.can_park()) continue;
    auto [use, fresh] = uses_.try_emplace(uuid, Use{node->sequence, now});
    if (!fresh && use->second.sequence != node->sequence) {
      use->second.sequence = node->sequence;
      use->second.since = now;
    }
  }
  std::erase_if(uses_, [&](const auto& use) { return !nodes.contains(use.first); });
  return nodes;
}

void Parking::ask_sockets() {
  for (const Uuid& uuid : active_) {
    Device& device = *devices_.at(uuid);
    if (is_on_socket(device.record().settings) && device.can_park()) device.ask_use();
  }
}

bool Parking::command_waits(const Uuid& uuid) {
  if (kernel_ == nullptr) return false;
  const auto found = kernel_->info(uuid);
  return found && *found && ((*found)->conditions & VTPM_COND_WANTED) != 0;
}

void Parking::look() {
  if (ended_ || idle_timer_ != 0) return;
  std::uint32_t shortest = 0;
  for (const auto& [uuid, device] : devices_)
    if (const std::uint32_t after = park_after(*device); after != 0)
      shortest = shortest == 0 ? after : std::min(shortest, after);
  if (shortest == 0 && options_.max_active == 0) return;
  const seconds period = shortest == 0 ? kLimitLook : seconds(shortest / kLooksAPeriod);
  idle_timer_ = loop_.after(std::clamp(period, kShortestLook, kLongestLook), [this] {
    ask_sockets();
    idle_timer_ = loop_.after(kAnswerTime, [this] {
      idle_timer_ = 0;
      park_idle();
      look();
    });
  });
}

void Parking::look_anew() {
  if (idle_timer_ != 0) loop_.cancel(std::exchange(idle_timer_, 0));
  look();
}

void Parking::park_idle() {
  const Nodes nodes = look_at_nodes();
  const Clock::time_point now = Clock::now();
  for (const auto& [uuid, node] : nodes) {
    Device& device = *devices_.at(uuid);
    const std::uint32_t after = park_after(device);
    const auto use = uses_.find(uuid);
    if (after == 0 || use == uses_.end() || !device.can_park() || node.busy) continue;
    if (now - use->second.since >= seconds(after)) start_park(device, nullptr);
  }
  keep_limit(nodes);
}

void Parking::keep_limit() {
  if (!ended_ && options_.max_active != 0) keep_limit(look_at_nodes());
}

// Beyond it are devices that were started, or woken when nobody could be parked.
void Parking::keep_limit(const Nodes& nodes) {
  if (options_.max_active == 0) return;
  while (active_.size() > options_.max_active + parking_ && make_room(nodes)) continue;
}

// Parks the device that was used least recently; none that has a command to answer, as the one that
// it was woken for: it would be woken again at once. False: there is none.
bool Parking::make_room(const Nodes& nodes) {
  const auto oldest = [&] {
    auto best = uses_.end();
    for (auto use = uses_.begin(); use != uses_.end(); ++use) {
      const auto node = nodes.find(use->first);
      if (node == nodes.end() || !devices_.at(use->first)->can_park()) continue;
      if (node->second.busy) continue;
      if (best == uses_.end() || use->second.since < best->second.since) best = use;
    }
    return best;
  }();
  if (oldest == uses_.end()) return false;
  start_park(*devices_.at(oldest->first), nullptr);
  return true;
}

void Parking::park(Device& device, Device::Done done) {
  if (device.phase() == Phase::parked) return done(Result<void>{});
  if (!device.can_park())
    return done(fail(ErrorCode::failed_precondition,
                     "the device is " + std::string(to_string(device.phase())),
                     "only a device that is on can be parked"));
  start_park(device, std::move(done));
}

void Parking::start_park(Device& device, Device::Done done) {
  parking_++;
  device.rest([this, uuid = device.uuid(), done = std::move(done)](const Result<void>& result) {
    parking_--;
    uses_.erase(uuid);
    if (done) done(result);
    // A command may have come when its worker had been told to go.
    if (ended_) return;
    if (command_waits(uuid)) wanted(uuid);
    serve_queue();
  });
}

void Parking::wanted(const Uuid& uuid) {
  const auto device = devices_.find(uuid);
  if (ended_ || device == devices_.end() || device->second->phase() != Phase::parked) return;
  if (std::ranges::find(queue_, uuid) != queue_.end()) return;
  if (queue_.empty()) progress_ = Clock::now();
  queue_.push_back(uuid);
  serve_queue();
}

void Parking::wake_first() {
  const auto device = devices_.find(queue_.front());
  queue_.pop_front();
  progress_ = Clock::now();
  if (device == devices_.end() || device->second->phase() != Phase::parked) return;
  uses_[device->first] = {.sequence = 0, .since = progress_};  // it counts as used now
  device->second->wake();
}

void Parking::serve_queue() {
  const auto room = [this] {
    return options_.max_active == 0 || active_.size() < options_.max_active;
  };
  while (!queue_.empty() && room()) wake_first();
  if (queue_.empty()) return;
  const Nodes nodes = look_at_nodes();
  while (parking_ < queue_.size() && make_room(nodes)) continue;
  ask_sockets();
  if (Clock::now() - progress_ > kPatience) wake_first();
  if (queue_.empty() || queue_timer_ != 0) return;
  queue_timer_ = loop_.after(kQueueLook, [this] {
    queue_timer_ = 0;
    serve_queue();
  });
}

}  // namespace vtpm::device
