// SPDX-License-Identifier: Apache-2.0
// What becomes of a device whose worker is gone: another one goes on from the last checkpoint, now
// or after a pause, or the device has failed.
#include <sys/wait.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "device/device.h"
#include "device/recovery.h"

namespace vtpm::device {
namespace {

constexpr std::chrono::seconds kMaxPause{30};
constexpr std::size_t kMaxReason = 500;

std::string sentence(const Error& error) {
  return error.hint.empty() ? error.message : error.message + "; " + error.hint;
}

bool may_pass(const Error& error) {
  return error.code == ErrorCode::full || error.code == ErrorCode::unavailable ||
         error.code == ErrorCode::unknown_outcome;
}

}  // namespace

void Device::resume(Done done) {
  const bool kernel_node = node_->registers();
  if (kernel_node && !node_->exists()) {  // the host was rebooted: the power was cut
    record_.failure.clear();
    return resume_cold(std::move(done));
  }
  if (!record_.failure.empty()) {
    answer_failed();
    return done(Result<void>{});
  }
  done_ = std::move(done);
  goal_ = Goal::resume;
  registered_ = true;
  set_phase(Phase::detached);
  auto resumed = resume_warm();
  if (resumed) {
    arm(kStartLimit, [this] { worker_.kill(); });
    return;
  }
  if (!kernel_node && resumed.error().code == ErrorCode::not_found) {
    // No client of a socket can still be there: its listener went with the last manager.
    goal_ = Goal::none;
    return resume_cold(std::exchange(done_, nullptr));
  }
  const Error error = std::move(resumed).error();
  finish(tl::unexpected<Error>(error));
  try_again(error);
}

// A power-on that nobody asks for again.
void Device::resume_cold(Done done) {
  phase_ = Phase::off;
  start({}, or_wait(std::move(done)));
}

// For who is to be on: a power-on that fails by what may pass, such as a full disk, is tried again.
Device::Done Device::or_wait(Done done) {
  waits_for_.clear();
  return [this, done = std::move(done)](const Result<void>& started) {
    if (!started && may_pass(started.error())) {
      power_on_later_ = true;
      waits_for_ = sentence(started.error());
    }
    done(started);
  };
}

void Device::power_on_later() {
  power_on_later_ = false;
  log::warning("cannot be powered on yet",
               {{"device", record_.settings.name}, {"why", waits_for_}});
  arm(pause_, [this] { resume_cold([](const Result<void>&) {}); });
  pause_ = std::min(pause_ * 2, kMaxPause);
}

// The next incarnation continues where the last checkpoint is; the node and its clients stay.
Result<void> Device::resume_warm() {
  VTPM_TRY(auto found, host_.journals.read(record_.uuid));
  const PowerId power_id = found ? found->header.power_id : PowerId{};
  VTPM_CHECK(acquire());
  RecoveryInput input;
  input.boot_id = host_.boot_id;
  input.store_version = record_.version.generation;
  input.read_only = read_only();
  input.journal = std::move(found);
  if (!input.read_only) {
    VTPM_TRY(input.stored, stored_checkpoint());
  }
  VTPM_TRY(Checkpoint newest, newest_checkpoint(std::move(input)));
  VTPM_TRY(auto descriptors, node_->attach(power_id));
  return launch(std::move(newest), std::move(descriptors));
}

// Journal and store may be whole while something else is short: memory, descriptors, disk. Only a
// state that is lost or contradicts itself fails the device, for that no waiting mends.
void Device::try_again(const Error& error) {
  // A socket that nobody listens on yet has no client: the host was rebooted.
  if (error.code == ErrorCode::not_found && !node_->registers() && !node_->exists())
    return resume_cold([](const Result<void>&) {});
  if (error.code == ErrorCode::corrupt || error.code == ErrorCode::not_found)
    return fail_with(error.message);
  log::warning("cannot go on yet",
               {{"device", record_.settings.name}, {"why", error.message}, {"hint", error.hint}});
  waits_for_ = sentence(error);
  arm(pause_, [this] {
    if (auto resumed = resume_warm(); !resumed) try_again(resumed.error());
  });
  pause_ = std::min(pause_ * 2, kMaxPause);
}

void Device::on_died(int wait_status) {
  host_.has_worker(record_.uuid, false);
  // What it asked the store for is answered before anybody else begins from there.
  host_.committer.flush();
  forget_commit();
  worker_ready_ = false;
  const std::string& why = worker_.failure();
  log::info(
      worker_.was_never_forked() ? "no worker was forked" : "worker ended",
      {{"device", record_.settings.name}, {"status", std::to_string(wait_status)}, {"why", why}});
  switch (goal_) {
    case Goal::start:
      finish(fail(ErrorCode::io,
                  "the device did not start: " + (why.empty() ? "its worker died" : why)));
      return take_down();
    case Goal::stop: return take_down();
    case Goal::park:
      if (off_by_host_) break;  // it had been told so first
      return on_parked(wait_status);
    case Goal::cycle: return begin_power_cycle();
    case Goal::resume: finish(fail(ErrorCode::io, "the device's worker died: " + why)); break;
    case Goal::identity:
      // Whatever the store has now, and nothing in between, is what the next worker begins from.
      if (maker_.busy()) maker_.cancel("the device's worker died");
      finish(fail(ErrorCode::io, "the device's worker died: " + why, "try again in a moment"));
      break;
    case Goal::none: break;
  }
  if (off_by_host_) {
    off_by_host_ = false;
    return take_down();
  }
  // Who answers for a failed device has nothing to lose and nothing to try: the next one may.
  if (phase_ == Phase::failed) return answer_failed_later();
  if (worker_.was_never_forked()) {  // nothing was lost, and it was not the device's fault
    set_phase(Phase::detached);
    return try_again(Error{ErrorCode::unavailable, why, ""});
  }
  if (crash_loop(wait_status)) return;
  replace_worker();
}

// The journal has all of it. A worker that crashed as it was told to go counts as any that crashed.
void Device::on_parked(int wait_status) {
  const Done done = std::exchange(done_, nullptr);
  finish({});
  const bool failed = privsep::is_crash(wait_status) && crash_loop(wait_status);
  if (!failed && phase_ == Phase::on) {
    compact_journal();
    set_phase(Phase::parked);
  }
  if (done) done({});
}

// One callback is enough: it stays readable until a worker accepts.
void Device::watch_doors(bool watch) {
  for (const int door : node_->doors()) {
    if (!watch) {
      host_.loop.unwatch(door);
      continue;
    }
    const auto came = [this] {
      watch_doors(false);
      host_.wanted(record_.uuid);
    };
    if (auto watched = host_.loop.watch(door, came); !watched) {
      log::warning("a parked device cannot hear its clients, and wakes",
                   {{"device", record_.settings.name}, {"why", watched.error().message}});
      host_.loop.post([&host = host_, uuid = record_.uuid] { host.wanted(uuid); });
    }
  }
}

// A parked device takes the room of one checkpoint. Where that cannot be had it goes on from the
// journal as its worker left it; if that is unsound, the wake will say so.
void Device::compact_journal() {
  if (auto compacted = host_.journals.compact(record_.uuid); !compacted)
    log::warning("the journal of a parked device stays as it was",
                 {{"device", record_.settings.name}, {"why", compacted.error().message}});
}

void Device::wake() {
  if (phase_ != Phase::parked || goal_ != Goal::none) return;
  wakes_++;
  set_phase(Phase::detached);
  if (auto resumed = resume_warm(); !resumed) try_again(resumed.error());
}

// Its sockets went with the last manager. Whatever is not simply as it was is for resume() to
// judge.
bool Device::listen_parked() {
  const auto found = host_.journals.read(record_.uuid);
  if (!found || !*found || (*found)->header.boot_id != host_.boot_id) return false;
  const auto& newest = (*found)->newest;
  if (!newest || newest->volatile_state.empty() || !node_->attach({})) return false;
  registered_ = true;
  return true;
}

bool Device::stay_parked() {
  if (!record_.failure.empty()) return false;
  if (node_->registers() ? !node_->exists() : !listen_parked()) return false;
  set_phase(Phase::parked);
  return true;
}

bool Device::crash_loop(int wait_status) {
  const bool crash = privsep::is_crash(wait_status);
  // One that we killed for what it sent did not die by somebody else's hand.
  const bool from_outside = !crash && WIFSIGNALED(wait_status) && worker_.failure().empty();
  if (from_outside || commit_refused_) return false;
  std::optional<std::uint64_t> sequence;  // a socket's frames have no number here
  if (node_->registers()) sequence = node_->sequence();
  const auto reason = crashes_.add(std::chrono::steady_clock::now(), crash, sequence);
  if (!reason) return false;
  fail_with(worker_.failure().empty() ? *reason : *reason + ": " + worker_.failure());
  return true;
}

void Device::replace_worker() {
  set_phase(Phase::detached);
  restarts_++;
  // A store that is full or busy is asked again, but not in a circle.
  if (commit_refused_)
    return try_again(
        Error{ErrorCode::unavailable, commit_refused_->message, commit_refused_->hint});
  if (auto resumed = resume_warm(); !resumed) return try_again(resumed.error());
  host_.bulletin.post(Notice::Kind::worker_replaced, view());
}

// Clients keep their node. Their commands are answered TPM_RC_FAILURE until somebody cuts the
// power.
void Device::fail_with(const std::string& reason) {
  record_.failure = reason.substr(0, kMaxReason);
  log::error("device has failed", {{"device", record_.settings.name}, {"why", reason}});
  if (auto stored = host_.store.set_failure(record_.uuid, record_.version, record_.failure);
      !stored)
    log::error("the store does not take the failure",
               {{"device", record_.settings.name}, {"why", stored.error().message}});
  set_phase(Phase::failed);
  answer_failed();
}

void Device::answer_failed() {
  if (phase_ != Phase::failed || worker_.alive()) return;
  if (node_->registers() && !node_->exists()) return;  // no node, so no client
  auto launched = launch_failed();
  if (launched) return;
  log::warning("cannot answer for a failed device yet",
               {{"device", record_.settings.name}, {"why", launched.error().message}});
  answer_failed_later();
}

void Device::answer_failed_later() {
  arm(pause_, [this] { answer_failed(); });
  pause_ = std::min(pause_ * 2, kMaxPause);
}

}  // namespace vtpm::device
