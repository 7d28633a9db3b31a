// SPDX-License-Identifier: Apache-2.0
// What becomes of a worker that served when the last manager went: it goes on, under this one.
#include <utility>

#include "base/log.h"
#include "device/device.h"

namespace vtpm::device {

// Any other worker has nothing to say: its commits would be refused, so its device is served better
// by one that starts from journal and store.
bool Device::fits(const InheritedWorker& worker) const {
  return record_.powered && record_.failure.empty() &&
         worker.incarnation == record_.version.epoch && record_.version.owner == host_.owner &&
         !worker_.alive();
}

void Device::adopt(InheritedWorker worker, Done done) {
  const pid_t pid = worker.pid;
  const bool dead = worker.dead;
  const bool node = node_->adopt(std::move(worker.node));
  done_ = std::move(done);
  goal_ = Goal::resume;
  registered_ = true;
  set_phase(Phase::detached);  // until it says that it is ready
  expect_worker(false);
  adopted_ = true;
  if (auto taken = worker_.adopt(std::move(worker)); !taken) {
    // The death of the worker is not ours to hear; its successor would not be alone.
    finish(tl::unexpected<Error>(taken.error()));
    return fail_with("the worker of the last vtpmd cannot be taken over: " + taken.error().message);
  }
  if (dead) return;  // on_died() follows
  arm(kStartLimit, [this] { worker_.kill(); });
  // A node that is gone or another's: nobody can reach this worker, the next one makes a new node.
  if (!node || !worker_.send(privsep::Adopt{})) return worker_.kill();
  log::info("device goes on with its worker",
            {{"device", record_.settings.name}, {"pid", std::to_string(pid)}});
  node_->wake();
}

// An adopted worker asks again for a commit whose answer it has not heard. The last manager may
// have left the question unread, so it may come twice here; or it may have committed and died
// before it answered. Then the store holds exactly this checkpoint, and the answer is what is
// missing.
bool Device::asked_before(const Checkpoint& checkpoint) {
  if (!adopted_) return false;
  if (commit_open_) return true;  // one answer serves both
  if (checkpoint.permanent_version != record_.version.generation) return false;
  const auto stored = stored_checkpoint();
  if (!stored || !*stored || encode(**stored) != encode(checkpoint)) return false;
  worker_.send(privsep::Committed{checkpoint.sequence, checkpoint.permanent_version});
  return true;
}

}  // namespace vtpm::device
