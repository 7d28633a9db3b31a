// SPDX-License-Identifier: Apache-2.0
#include "device/device.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "device/recovery.h"
#include "frame/frame.h"
#include "policy/policy.h"
#include "privsep/messages.h"

namespace vtpm::device {
namespace {

using std::chrono::seconds;
constexpr seconds kStartLimit{60};  // emulated hosts are slow; a real one needs milliseconds
constexpr seconds kStopLimit{30};
constexpr seconds kMaxPause{30};
constexpr std::size_t kMaxReason = 500;

bool read_only(const store::Record& record) {
  return record.settings.mode == static_cast<std::uint8_t>(privsep::DeviceMode::read_only);
}

std::unique_ptr<Node> make_node(const Host& host, const store::Record& record) {
  if (record.settings.node == static_cast<std::uint8_t>(privsep::NodeKind::socket))
    return make_socket_node(record.settings, host.socket_folder);
  return make_kernel_node(host.kernel, record.uuid, record.settings);
}

}  // namespace

Device::Device(Host& host, store::Record record)
    : host_(host),
      record_(std::move(record)),
      has_identity_(!record_.state.bytes.empty()),
      node_(make_node(host_, record_)),
      worker_(host_.loop, host_.forks,
              {.message = [this](const privsep::Message& m) { on_message(m); },
               .died = [this](int status) { on_died(status); }}) {
  record_.state.bytes.clear();  // read from the store again when it is needed
  if (!record_.failure.empty()) phase_ = Phase::failed;
  registered_ = node_->exists();
}

Device::~Device() {
  if (timer_ != 0) host_.loop.cancel(timer_);
}

View Device::view() const {
  View view;
  view.uuid = record_.uuid;
  view.settings = record_.settings;
  view.version = record_.version;
  view.phase = phase_;
  view.failure = record_.failure;
  view.has_identity = has_identity_;
  view.has_node = node_->exists() && registered_;
  view.node = node_->kernel_node();
  view.socket_path = node_->socket_path();
  view.sequence = node_->sequence();
  view.worker_pid = worker_.pid();
  view.denied = denied_;
  view.restarts = restarts_;
  return view;
}

void Device::set_phase(Phase phase) {
  if (phase_ == phase) return;
  phase_ = phase;
  log::info("device is " + std::string(to_string(phase)),
            {{"device", record_.settings.name}, {"uuid", record_.uuid.to_string()}});
  host_.bulletin.post(Notice::Kind::state_changed, view());
}

void Device::arm(std::chrono::milliseconds limit, std::function<void()> late) {
  if (timer_ != 0) host_.loop.cancel(timer_);
  timer_ = host_.loop.after(limit, [this, late = std::move(late)] {
    timer_ = 0;
    late();
  });
}

void Device::finish(Result<void> result) {
  if (timer_ != 0) host_.loop.cancel(std::exchange(timer_, 0));
  goal_ = Goal::none;
  if (Done done = std::exchange(done_, nullptr)) done(std::move(result));
}

// Takes the record for this manager and starts a new epoch: whatever an earlier worker still has
// on its way to the store is stale from here on.
Result<void> Device::acquire() {
  VTPM_TRY(store::Record fresh, host_.store.get(record_.uuid));
  store::Version expected = record_.version;
  // A commit whose outcome nobody knows may have been applied.
  if (outcome_unknown_ && fresh.version.generation == expected.generation + 1)
    expected.generation++;
  if (fresh.version != expected)
    return fail(ErrorCode::corrupt,
                "the store holds another version of the device than this vtpmd has written",
                "somebody put an old record back, or another vtpmd writes to this store");
  VTPM_TRY(fresh.version, host_.store.acquire(record_.uuid, fresh.version, host_.owner));
  fresh.state.bytes.clear();
  record_ = std::move(fresh);
  outcome_unknown_ = false;
  return {};
}

Result<std::optional<Checkpoint>> Device::stored_checkpoint() {
  VTPM_TRY(const store::Record record, host_.store.get(record_.uuid));
  VTPM_TRY(auto checkpoint, host_.vault.open(record));
  if (checkpoint && checkpoint->permanent.empty())
    return fail(ErrorCode::corrupt, "the stored state has no permanent part");
  return checkpoint;
}

void Device::start(Done done) {
  if (phase_ == Phase::on || phase_ == Phase::detached) return done(Result<void>{});
  if (phase_ == Phase::failed)
    return done(fail(ErrorCode::failed_precondition, "the device has failed: " + record_.failure,
                     "'vtpmctl power-cycle' starts it anew and resets its PCRs"));
  if (goal_ != Goal::none)
    return done(fail(ErrorCode::busy, "the device is " + std::string(to_string(phase_)),
                     "try again in a moment"));
  done_ = std::move(done);
  goal_ = Goal::start;
  set_phase(Phase::starting);
  arm(kStartLimit,
      [this] { worker_.alive() ? worker_.kill_for("it was not ready in time") : take_down(); });
  if (auto started = power_on(); !started) {
    finish(tl::unexpected<Error>(std::move(started).error()));
    take_down();
  }
}

Result<void> Device::power_on() {
  VTPM_CHECK(acquire());
  VTPM_TRY(const auto stored, stored_checkpoint());
  Checkpoint cold = cold_checkpoint(stored, record_.version.generation);
  VTPM_TRY(auto descriptors, node_->power_on());
  registered_ = !node_->registers();
  crashes_.forget();
  return launch(std::move(cold), std::move(descriptors));
}

// The state that counts goes into a journal of its own before the worker that continues it exists.
Result<void> Device::launch(Checkpoint checkpoint, std::vector<UniqueFd> descriptors) {
  checkpoint.boot_id = host_.boot_id;
  checkpoint.incarnation = record_.version.epoch;
  const journal::Header header{.device = record_.uuid,
                               .boot_id = host_.boot_id,
                               .power_id = node_->power_id(),
                               .incarnation = record_.version.epoch};
  // The store has the permanent state of a read-write device; the journal needs no copy in clear.
  SecretBytes permanent = std::move(checkpoint.permanent);
  if (read_only(record_)) checkpoint.permanent = permanent;
  VTPM_TRY(const UniqueFd journal, host_.journals.create(header, &checkpoint));
  checkpoint.permanent = std::move(permanent);

  privsep::Start start;
  start.device = record_.uuid;
  start.name = record_.settings.name;
  start.node = static_cast<privsep::NodeKind>(record_.settings.node);
  start.mode = static_cast<privsep::DeviceMode>(record_.settings.mode);
  start.kind = static_cast<privsep::DeviceKind>(record_.settings.kind);
  start.linux_hmac = record_.settings.linux_hmac;
  start.firmware =
      start.node == privsep::NodeKind::kernel || start.kind == privsep::DeviceKind::container;
  start.fresh = !read_only(record_) && checkpoint.permanent.empty();
  start.checkpoint = std::move(checkpoint);
  std::vector<int> numbers{journal.get()};
  for (const UniqueFd& fd : descriptors) numbers.push_back(fd.get());
  worker_ready_ = false;
  commit_refused_ = false;
  return worker_.start(std::move(start), numbers);
}

void Device::on_message(const privsep::Message& message) {
  if (std::holds_alternative<privsep::Ready>(message)) {
    worker_ready_ = true;
    settle();
  } else if (const auto* commit = std::get_if<privsep::Commit>(&message)) {
    on_commit(commit->checkpoint);
  } else if (const auto* denied = std::get_if<privsep::Denied>(&message)) {
    on_denied(*denied);
  } else if (const auto* failed = std::get_if<privsep::Failed>(&message)) {
    worker_.blame(failed->reason);
  } else if (const auto* stopped = std::get_if<privsep::Stopped>(&message)) {
    off_by_host_ = stopped->asked_by_host;
    worker_.expect_end();
  } else {
    worker_.kill_for("it sent a message that only a manager sends");
  }
}

void Device::on_commit(const Checkpoint& checkpoint) {
  const bool sound = !read_only(record_) && checkpoint.incarnation == record_.version.epoch &&
                     checkpoint.permanent_version == record_.version.generation + 1 &&
                     checkpoint.boot_id == host_.boot_id && !checkpoint.permanent.empty();
  if (!sound) return worker_.kill_for("it asked for a commit that its record does not allow");
  host_.committer.add(record_, checkpoint,
                      [this, epoch = checkpoint.incarnation, sequence = checkpoint.sequence](
                          Result<store::Version> version, const Bytes& wrapped_key) {
                        on_committed(epoch, sequence, version, wrapped_key);
                      });
}

void Device::on_committed(std::uint64_t epoch, std::uint64_t sequence,
                          const Result<store::Version>& version, const Bytes& wrapped_key) {
  // The worker that asked has died meanwhile, and its successor began from what the store had.
  if (epoch != record_.version.epoch) return;
  if (!version) {
    commit_refused_ = true;
    outcome_unknown_ = version.error().code == ErrorCode::unknown_outcome;
    log::error("the store does not take a commit",
               {{"device", record_.settings.name}, {"why", version.error().message}});
    worker_.send(privsep::Refused{version.error().message});
    return;
  }
  record_.version = *version;
  has_identity_ = true;
  if (!wrapped_key.empty()) record_.wrapped_key = wrapped_key;
  worker_.send(privsep::Committed{sequence, version->generation});
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

void Device::on_kernel_event(const vtpm_event& event) {
  if (event.tpm_number != node_->kernel_node().number) return;  // of an earlier node of ours
  if (event.type == VTPM_EVENT_REGISTERED && phase_ == Phase::starting) {
    if (event.error != 0) {
      // A kernel with CONFIG_TCG_TPM2_HMAC makes a key of its own while it registers a TPM.
      const bool wants_key = event.tpm_rc == frame::kRcReadOnly;
      return worker_.kill_for(fmt::format(
          "the kernel did not register the device: errno {}, TPM {:#x}{}", event.error,
          event.tpm_rc,
          wants_key ? "; this kernel needs it to be created with --compat linux-hmac" : ""));
    }
    registered_ = true;
    settle();
  } else if (event.type == VTPM_EVENT_DESTROYED && phase_ == Phase::stopping) {
    finish_off();
  }
}

void Device::settle() {
  if (!worker_ready_ || !registered_) return;
  if (phase_ == Phase::starting)
    if (auto stored = host_.store.set_powered(record_.uuid, record_.version, true); !stored)
      log::warning("the store does not take that the device is on",
                   {{"device", record_.settings.name}, {"why", stored.error().message}});
  record_.powered = true;
  pause_ = seconds(1);
  set_phase(Phase::on);
  if (goal_ == Goal::start || goal_ == Goal::resume) finish({});
}

void Device::on_died(int wait_status) {
  // What it asked the store for is answered before anybody else begins from there.
  host_.committer.flush();
  worker_ready_ = false;
  const std::string& why = worker_.failure();
  log::info(
      "worker ended",
      {{"device", record_.settings.name}, {"status", std::to_string(wait_status)}, {"why", why}});
  switch (goal_) {
    case Goal::start:
      finish(fail(ErrorCode::io,
                  "the device did not start: " + (why.empty() ? "its worker died" : why)));
      return take_down();
    case Goal::stop: return take_down();
    case Goal::park: return finish({});
    case Goal::cycle: return begin_power_cycle();
    case Goal::resume: finish(fail(ErrorCode::io, "the device's worker died: " + why)); break;
    case Goal::none: break;
  }
  if (off_by_host_) {
    off_by_host_ = false;
    return take_down();
  }
  if (crash_loop(wait_status)) return;
  replace_worker();
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
    return try_again(Error{ErrorCode::unavailable, "the store refused a commit", ""});
  if (auto resumed = resume_warm(); !resumed) return try_again(resumed.error());
  host_.bulletin.post(Notice::Kind::worker_replaced, view());
}

// Journal and store may be whole while something else is short: memory, descriptors, disk. Only a
// state that is lost or contradicts itself fails the device, for that no waiting mends.
void Device::try_again(const Error& error) {
  if (error.code == ErrorCode::corrupt || error.code == ErrorCode::not_found)
    return fail_with(error.message);
  log::warning("cannot go on yet", {{"device", record_.settings.name}, {"why", error.message}});
  arm(pause_, [this] {
    if (auto resumed = resume_warm(); !resumed) try_again(resumed.error());
  });
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
  input.read_only = read_only(record_);
  input.journal = std::move(found);
  if (!input.read_only) {
    VTPM_TRY(input.stored, stored_checkpoint());
  }
  VTPM_TRY(Checkpoint newest, newest_checkpoint(std::move(input)));
  VTPM_TRY(auto descriptors, node_->attach(power_id));
  return launch(std::move(newest), std::move(descriptors));
}

void Device::resume(Done done) {
  const bool kernel_node = node_->registers();
  if (kernel_node && !node_->exists()) {  // the host was rebooted: the power was cut
    record_.failure.clear();
    phase_ = Phase::off;
    return start(std::move(done));
  }
  if (!record_.failure.empty()) return done(Result<void>{});
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
    phase_ = Phase::off;
    goal_ = Goal::none;
    return start(std::exchange(done_, nullptr));
  }
  const Error error = std::move(resumed).error();
  finish(tl::unexpected<Error>(error));
  try_again(error);
}

void Device::discard_stale_node() {
  if (phase_ == Phase::off && node_->exists()) take_down();
}

void Device::park(Done done) {
  if (!worker_.alive() && !done_) return done(Result<void>{});
  if (done_) finish(fail(ErrorCode::unavailable, "vtpmd is stopping"));
  if (!worker_.alive()) return done(Result<void>{});
  done_ = std::move(done);
  goal_ = Goal::park;
  arm(kStopLimit, [this] { worker_.kill(); });
  worker_.expect_end();
  // Every reply's effect is kept already: a kill loses nothing.
  if (!worker_.send(privsep::Stop{privsep::Stop::How::park})) return worker_.kill();
  node_->wake();
}

void Device::stop(bool release_number, Done done) {
  if (phase_ == Phase::off) return done(Result<void>{});
  if (goal_ != Goal::none)
    return done(fail(ErrorCode::busy, "the device is " + std::string(to_string(phase_)),
                     "try again in a moment"));
  done_ = std::move(done);
  goal_ = Goal::stop;
  release_after_stop_ = release_number;
  set_phase(Phase::stopping);
  if (!worker_.alive()) return take_down();
  arm(kStopLimit, [this] { worker_.kill(); });
  worker_.expect_end();
  if (!worker_ready_ || !worker_.send(privsep::Stop{privsep::Stop::How::power_off}))
    return worker_.kill();
  node_->wake();
}

void Device::power_cycle(Done done) {
  if (phase_ == Phase::off)
    return done(fail(ErrorCode::failed_precondition, "the device is off", "start it"));
  if (goal_ != Goal::none)
    return done(fail(ErrorCode::busy, "the device is " + std::string(to_string(phase_)),
                     "try again in a moment"));
  done_ = std::move(done);
  goal_ = Goal::cycle;
  set_phase(Phase::detached);
  arm(kStartLimit, [this] { worker_.kill(); });
  if (worker_.alive())
    worker_.kill();  // as a power cut does
  else
    begin_power_cycle();
}

void Device::begin_power_cycle() {
  goal_ = Goal::resume;  // from here on as after any restart: another death does not undo it
  arm(kStartLimit, [this] { worker_.kill(); });
  auto cycled = power_cycle_now();
  if (cycled) return;
  fail_with(cycled.error().message);
  finish(tl::unexpected<Error>(std::move(cycled).error()));
}

Result<void> Device::power_cycle_now() {
  VTPM_CHECK(acquire());
  VTPM_TRY(const auto stored, stored_checkpoint());
  VTPM_TRY(auto descriptors, node_->exists() ? node_->power_cycle() : node_->power_on());
  registered_ = registered_ || !node_->registers();
  VTPM_CHECK(host_.store.set_failure(record_.uuid, record_.version, ""));
  record_.failure.clear();
  crashes_.forget();
  return launch(cold_checkpoint(stored, record_.version.generation), std::move(descriptors));
}

void Device::take_down() {
  set_phase(Phase::stopping);
  // A node that no client ever saw: nobody can hold its number.
  if (!registered_) release_after_stop_ = true;
  registered_ = false;
  auto gone = node_->destroy();
  if (!gone) {
    log::error("cannot take the node away",
               {{"device", record_.settings.name}, {"why", gone.error().message}});
    return finish_off();
  }
  if (*gone) return finish_off();
  arm(kStopLimit, [this] { finish_off(); });  // the event follows
}

void Device::finish_off() {
  if (release_after_stop_) (void)node_->release_number();
  release_after_stop_ = false;
  Result<void> result = host_.journals.remove(record_.uuid);
  if (result) result = host_.store.set_powered(record_.uuid, record_.version, false);
  if (result && !record_.failure.empty())
    result = host_.store.set_failure(record_.uuid, record_.version, "");
  record_.powered = false;
  record_.failure.clear();
  set_phase(Phase::off);
  finish(std::move(result));
}

// Clients keep their node; their commands wait there until somebody mends it.
void Device::fail_with(const std::string& reason) {
  record_.failure = reason.substr(0, kMaxReason);
  log::error("device has failed", {{"device", record_.settings.name}, {"why", reason}});
  if (auto stored = host_.store.set_failure(record_.uuid, record_.version, record_.failure);
      !stored)
    log::error("the store does not take the failure",
               {{"device", record_.settings.name}, {"why", stored.error().message}});
  set_phase(Phase::failed);
}

}  // namespace vtpm::device
