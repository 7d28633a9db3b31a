// SPDX-License-Identifier: Apache-2.0
// What passes between a device and the worker that serves it: its start, its commits, its reports.
#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "device/device.h"
#include "policy/policy.h"
#include "privsep/messages.h"

namespace vtpm::device {

privsep::Start Device::start_message() const {
  privsep::Start start;
  start.device = record_.uuid;
  start.name = record_.settings.name;
  start.node = static_cast<privsep::NodeKind>(record_.settings.node);
  start.mode = static_cast<privsep::DeviceMode>(record_.settings.mode);
  start.kind = static_cast<privsep::DeviceKind>(record_.settings.kind);
  start.linux_hmac = record_.settings.linux_hmac;
  start.firmware =
      start.node == privsep::NodeKind::kernel || start.kind == privsep::DeviceKind::container;
  if (start.firmware)
    for (const Event& event : measured_) start.measurements.push_back(event.measurement);
  return start;
}

// The state that counts goes into a journal of its own before the worker that continues it exists.
Result<void> Device::launch(Checkpoint checkpoint, std::vector<UniqueFd> descriptors,
                            bool first_run) {
  checkpoint.boot_id = host_.boot_id;
  checkpoint.incarnation = record_.version.epoch;
  const journal::Header header{.device = record_.uuid,
                               .boot_id = host_.boot_id,
                               .power_id = node_->power_id(),
                               .incarnation = record_.version.epoch};
  // The store has the permanent state of a read-write device; the journal needs no copy in clear.
  SecretBytes permanent = std::move(checkpoint.permanent);
  if (read_only()) checkpoint.permanent = permanent;
  const bool cold = checkpoint.volatile_state.empty();
  VTPM_TRY(const UniqueFd journal, host_.journals.create(header, &checkpoint));
  // The journal of the last power cycle is gone, so its PCRs never come back beside this log.
  if (cold) VTPM_CHECK(publish_measured());
  checkpoint.permanent = std::move(permanent);

  privsep::Start start = start_message();
  start.checkpoint = std::move(checkpoint);
  start.first_run = first_run;
  std::vector<int> numbers{journal.get()};
  for (const UniqueFd& fd : descriptors) numbers.push_back(fd.get());
  expect_worker(false);
  commit_refused_.reset();
  adopted_ = false;
  return worker_.start(std::move(start), numbers);
}

// Who answers for a device that has failed gets the node, and nothing of the device's state: no
// record, no journal. A kernel node asks whoever attaches for the present power id, as a promise
// that PCRs and sessions were restored; a worker that shows none and reports a failure for each
// command breaks no promise. Where nobody knows the id any more, as the journal that had it is
// lost, a new power cycle begins: no other state can come back into it.
Result<void> Device::launch_failed() {
  auto descriptors = node_->attach(node_->power_id());
  if (!descriptors && descriptors.error().code == ErrorCode::corrupt)
    descriptors = node_->power_cycle();
  if (!descriptors) return tl::unexpected<Error>(std::move(descriptors).error());
  privsep::Start start = start_message();
  start.failed = true;
  std::vector<int> numbers;
  for (const UniqueFd& fd : *descriptors) numbers.push_back(fd.get());
  expect_worker(true);
  return worker_.start(std::move(start), numbers);
}

// Of the next one nothing is known yet.
void Device::expect_worker(bool in_failure_mode) {
  worker_ready_ = false;
  failure_mode_ = in_failure_mode;
  use_.reset();
  use_asked_ = false;
}

void Device::on_message(const privsep::Message& message) {
  if (std::holds_alternative<privsep::Ready>(message)) {
    pause_ = std::chrono::seconds(1);
    if (failure_mode_) return;
    worker_ready_ = true;
    if (goal_ == Goal::stop) return power_off_worker();
    settle();
  } else if (const auto* commit = std::get_if<privsep::Commit>(&message)) {
    on_commit(commit->checkpoint);
  } else if (const auto* running = std::get_if<privsep::Running>(&message)) {
    on_running(*running);
  } else if (const auto* denied = std::get_if<privsep::Denied>(&message)) {
    on_denied(*denied);
  } else if (const auto* failed = std::get_if<privsep::Failed>(&message)) {
    worker_.blame(failed->reason);
  } else if (const auto* use = std::get_if<privsep::Use>(&message)) {
    on_use(*use);
  } else if (const auto* stopped = std::get_if<privsep::Stopped>(&message)) {
    off_by_host_ = stopped->asked_by_host;
    worker_.expect_end();
  } else {
    worker_.kill_for("it sent a message that only a manager sends");
  }
}

void Device::on_commit(const Checkpoint& checkpoint) {
  // A read-only device has nothing for the store, but for the identity that it was told to take.
  const bool becomes_read_write = read_only() && identity_sent_;
  const bool ours = !failure_mode_ && (!read_only() || becomes_read_write) &&
                    checkpoint.incarnation == record_.version.epoch &&
                    checkpoint.boot_id == host_.boot_id && !checkpoint.permanent.empty();
  if (ours && asked_before(checkpoint)) return;
  const bool sound =
      ours && !commit_open_ && checkpoint.permanent_version == record_.version.generation + 1;
  if (!sound) return worker_.kill_for("it asked for a commit that its record does not allow");
  commit_open_ = true;
  const auto now = std::chrono::steady_clock::now();
  const auto wait = writes_.take(now);
  commit_due_ = now + wait;
  if (wait > wait.zero()) slowed_down();
  Birth birth;
  if (becomes_read_write)
    birth = {.mode = static_cast<std::uint8_t>(privsep::DeviceMode::read_write),
             .lineage = lineage_sent_,
             .role = {}};
  host_.committer.add(
      record_, checkpoint,
      [this, epoch = checkpoint.incarnation, sequence = checkpoint.sequence](
          const Result<store::Version>& version, const Bytes& wrapped_key) {
        on_committed(epoch, sequence, version, wrapped_key);
      },
      birth);
}

void Device::on_committed(std::uint64_t epoch, std::uint64_t sequence,
                          const Result<store::Version>& version, const Bytes& wrapped_key) {
  // The worker that asked has died meanwhile, and its successor began from what the store had.
  if (epoch != record_.version.epoch) return;
  if (!version) {
    commit_refused_ = version.error();
    outcome_unknown_ = version.error().code == ErrorCode::unknown_outcome;
    log::error("the store does not take a commit", {{"device", record_.settings.name},
                                                    {"why", version.error().message},
                                                    {"hint", version.error().hint}});
    forget_commit();
    worker_.send(privsep::Refused{version.error().message});
    return;
  }
  note_committed(*version, wrapped_key);
  answer_commit({sequence, version->generation});
}

// The store has taken a state of the device. A read-only device has none but its first identity.
void Device::note_committed(const store::Version& version, const Bytes& wrapped_key) {
  record_.version = version;
  has_identity_ = true;
  if (!wrapped_key.empty()) record_.wrapped_key = wrapped_key;
  if (read_only()) note_read_write();
}

// The state is stored when it is asked for; only the answer is late. So a wait holds no secret, and
// whoever dies during it finds the commit done.
void Device::answer_commit(const privsep::Committed& committed) {
  using std::chrono::milliseconds;
  const auto wait = commit_due_ - std::chrono::steady_clock::now();
  if (wait > wait.zero()) {
    commit_timer_ = host_.loop.after(std::chrono::ceil<milliseconds>(wait), [this, committed] {
      commit_timer_ = 0;
      commit_open_ = false;
      worker_.send(committed);
    });
    return;
  }
  commit_open_ = false;
  worker_.send(committed);
}

void Device::forget_commit() {
  if (commit_timer_ != 0) host_.loop.cancel(std::exchange(commit_timer_, 0));
  commit_open_ = false;
}

void Device::slowed_down() {
  constexpr std::chrono::minutes quiet{1};
  throttled_++;
  throttled_unsaid_++;
  const auto now = std::chrono::steady_clock::now();
  if (throttled_said_ && now - *throttled_said_ < quiet) return;
  throttled_said_ = now;
  log::notice("a device changes its permanent state more often than it may, and is slowed down",
              {{"device", record_.settings.name},
               {"writes", std::to_string(std::exchange(throttled_unsaid_, 0))},
               {"limit", fmt::format("{}/s", host_.write_limit.per_second)}});
}

void Device::on_denied(const privsep::Denied& denied) {
  denied_ += 1 + denied.suppressed;
  Refusal refusal;
  refusal.uuid = record_.uuid;
  refusal.name = record_.settings.name;
  refusal.command_code = denied.command_code;
  refusal.reason = denied.reason;
  refusal.locality = denied.locality;
  refusal.response_code = denied.rc;
  refusal.sequence = denied.sequence;
  refusal.suppressed = denied.suppressed;
  const auto reason = static_cast<policy::Reason>(denied.reason);
  log::notice("command refused", {{"device", record_.settings.name},
                                  {"command_code", fmt::format("{:#x}", denied.command_code)},
                                  {"why", std::string(policy::to_string(reason))},
                                  {"suppressed", std::to_string(denied.suppressed)}});
  host_.bulletin.post_refusal(view(), std::move(refusal));
}

std::optional<privsep::Use> Device::use() const {
  auto use = use_;
  if (use && use_asked_) use->connected = true;
  return use;
}

void Device::ask_use() {
  if (!use_asked_) use_asked_ = worker_.send(privsep::TellUse{});
}

void Device::on_use(const privsep::Use& use) {
  use_ = use;
  use_asked_ = false;
  if (use.stays && goal_ == Goal::park && may_stay_)
    finish(fail(ErrorCode::busy, "a client is connected to the device's socket",
                "it can be parked when nobody is"));
}

}  // namespace vtpm::device
