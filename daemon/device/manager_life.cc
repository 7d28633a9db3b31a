// SPDX-License-Identifier: Apache-2.0
// The beginning and the end of a manager's life: what it takes over, and what it leaves.
#include <set>
#include <utility>

#include "base/log.h"
#include "device/manager.h"

namespace vtpm::device {

Result<void> Manager::run() {
  loop_->post([this] { bring_back(); });
  loop_->run();
  if (const auto ended = archive_->end_run(); !ended)
    log::error("the store could not be bound to the end of this run",
               {{"why", ended.error().message}});
  return outcome_;
}

void Manager::stop() {
  loop_->post([this] { shut_down(); });
}

// A server that lives without us may fork and lose workers that we do not know of. Whoever starts
// vtpmd again gets the whole list.
void Manager::on_fork_server_lost() {
  outcome_ = fail(ErrorCode::unavailable, "the fork server does not talk to this vtpmd any more",
                  "restart vtpmd: it takes over the workers, which go on serving");
  stopping_ = true;
  sign_command_->end();
  bulletin_.close();
  parking_->end();
  seedlings_->end();
  loop_->stop();
}

// Those that serve go on; one that does not fit its record has to be dead before its device goes
// on. Returns the devices that must not be touched here.
std::set<Uuid> Manager::adopt_workers() {
  std::set<Uuid> taken;
  for (InheritedWorker& worker : forks_->take_inherited()) {
    const auto device = devices_.find(worker.device);
    if (device != devices_.end() && device->second->fits(worker)) {
      taken.insert(worker.device);
      device->second->adopt(std::move(worker), [](const Result<void>& done) {
        if (!done) log::error("cannot go on with a worker", {{"why", done.error().message}});
      });
      continue;
    }
    if (worker.dead || taken.contains(worker.device)) continue;
    log::warning("a worker of the last vtpmd is of no use and ends",
                 {{"device", worker.device.to_string()}, {"pid", std::to_string(worker.pid)}});
    taken.insert(worker.device);
    forks_->adopt(worker.pid, [this, uuid = worker.device](int) {
      const auto found = devices_.find(uuid);
      if (found != devices_.end() && !stopping_) bring_back(*found->second);
    });
    forks_->kill(worker.pid);
  }
  return taken;
}

void Manager::bring_back(Device& device) {
  if (!device.record().powered) return device.discard_stale_node();
  if (parking_->may_sleep(device) && device.stay_parked()) return;
  device.resume([this, name = device.record().settings.name](const Result<void>& done) {
    parking_->keep_limit();
    if (!done)
      log::error("cannot bring a device back", {{"device", name}, {"why", done.error().message}});
  });
}

void Manager::bring_back() {
  const std::set<Uuid> taken = adopt_workers();
  for (auto& [uuid, device] : devices_)
    if (!taken.contains(uuid)) bring_back(*device);
  parking_->look();
  seedlings_->begin(options_.identity_profile);
  if (!kernel_) return;
  const auto nodes = kernel_->list();
  if (!nodes) return;
  for (const vtpm_info& node : *nodes) {
    if ((node.conditions & VTPM_COND_WANTED) != 0) parking_->wanted(uuid_of(node));
    if (node.state != VTPM_STATE_DEAD && !devices_.contains(uuid_of(node)) &&
        !damaged_.contains(uuid_of(node)))
      log::warning("the kernel has a TPM device that is not in the store",
                   {{"uuid", uuid_of(node).to_string()}, {"tpm", std::to_string(node.tpm_number)}});
  }
}

// Workers of a fork server that stays go on serving. Others end; nodes and journals stay, so that
// the next run continues all of it.
void Manager::shut_down() {
  if (std::exchange(stopping_, true)) return;
  sign_command_->end();  // a device that waits for it is told so
  bulletin_.close();
  parking_->end();
  seedlings_->end();
  if (!options_.engine_socket.empty()) {
    for (auto& [uuid, device] : devices_) device->leave();
    return loop_->stop();
  }
  auto left = std::make_shared<std::size_t>(devices_.size() + 1);
  const auto one_less = [this, left] {
    if (--*left == 0) loop_->stop();
  };
  for (auto& [uuid, device] : devices_)
    device->park([one_less](const Result<void>&) { one_less(); });
  one_less();
}

}  // namespace vtpm::device
