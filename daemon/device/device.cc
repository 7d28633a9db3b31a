// SPDX-License-Identifier: Apache-2.0
// The power of a device, as people switch it: start, stop, power-cycle, park.
#include "device/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "device/recovery.h"
#include "frame/frame.h"
#include "privsep/messages.h"

namespace vtpm::device {
namespace {

// The longest that an answer to a commit is withheld: far less than a client waits for its command.
WriteBudget::Duration longest_wait(const store::Settings& settings) {
  using std::chrono::milliseconds;
  constexpr milliseconds longest{1000};
  constexpr int share = 4;
  if (settings.command_timeout_ms == 0) return longest;  // the module's default is half a minute
  return std::min(longest, milliseconds(settings.command_timeout_ms) / share);
}

std::unique_ptr<Node> make_node(const Host& host, const store::Record& record) {
  if (is_on_socket(record.settings)) return make_socket_node(record.settings, host.socket_folder);
  return make_kernel_node(host.kernel, record.uuid, record.settings);
}

}  // namespace

Device::Device(Host& host, store::Record record)
    : host_(host),
      record_(std::move(record)),
      has_identity_(!record_.state.bytes.empty()),
      node_(make_node(host_, record_)),
      maker_(host_.loop, host_.forks),
      worker_(host_.loop, host_.forks,
              {.began = [this] { host_.has_worker(record_.uuid, true); },
               .message = [this](const privsep::Message& m) { on_message(m); },
               .died = [this](int status) { on_died(status); }}),
      writes_(host_.write_limit, longest_wait(record_.settings)) {
  record_.state.bytes.clear();  // read from the store again when it is needed
  record_.lineage.clear();      // the same
  if (!record_.failure.empty()) phase_ = Phase::failed;
  registered_ = node_->exists();
  recall_measured();
}

Device::~Device() {
  watch_doors(false);
  if (timer_ != 0) host_.loop.cancel(timer_);
  for (const Copy& copy : copies_) host_.loop.cancel(copy.limit);
  forget_commit();
  host_.has_worker(record_.uuid, false);
}

bool Device::read_only() const { return is_read_only(record_.settings); }

View Device::view() const {
  View view;
  view.uuid = record_.uuid;
  view.settings = record_.settings;
  view.version = record_.version;
  view.taken_us = record_.taken_us;
  view.phase = phase_;
  view.failure = record_.failure;
  view.waits_for = waits_for_;
  view.has_identity = has_identity_ && record_.settings.role == store::Role::device;
  view.has_node = node_->exists() && registered_;
  view.node = node_->kernel_node();
  if (store::has_node(record_.settings.role)) view.socket_path = node_->socket_path();
  view.sequence = node_->sequence();
  view.worker_pid = worker_.pid();
  view.denied = denied_;
  view.restarts = restarts_;
  view.throttled = throttled_;
  view.wakes = wakes_;
  if (!measured_.empty()) view.event_log = host_.event_logs.path(record_.settings.name);
  return view;
}

Result<void> Device::set(const store::Settings& settings) {
  const store::Role role = record_.settings.role;
  if (role == store::Role::snapshot || role == store::Role::retired || role == store::Role::moved)
    return check_role();
  VTPM_CHECK(host_.store.set_settings(record_.uuid, record_.version, settings));
  record_.settings.owner = settings.owner;
  record_.settings.park_after_s = settings.park_after_s;
  record_.settings.cert_profile = settings.cert_profile;
  return {};
}

void Device::set_phase(Phase phase) {
  if (phase_ == phase) return;
  phase_ = phase;
  watch_doors(phase == Phase::parked);
  if (phase != Phase::on && phase != Phase::detached)
    give_up_copies("the device is " + std::string(to_string(phase)));
  if (phase != Phase::detached && !power_on_later_) waits_for_.clear();
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
  founding_.reset();
  identity_wanted_ = false;
  identity_sent_ = false;
  lineage_sent_.clear();
  rollback_.reset();
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
  has_identity_ = !fresh.state.bytes.empty();
  fresh.state.bytes.clear();
  fresh.lineage.clear();
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

Result<void> Device::check_role() const {
  const std::string& name = record_.settings.name;
  switch (record_.settings.role) {
    case store::Role::device: return {};
    case store::Role::template_device:
      return fail(ErrorCode::failed_precondition,
                  name + " is a template, which is never started or changed",
                  "'vtpmctl create NAME --from " + name + "' makes a device from it");
    case store::Role::quarantined:
    case store::Role::quarantined_fresh_storage:
      return fail(
          ErrorCode::failed_precondition,
          name + " is quarantined: it holds a copy of another device's identity",
          "'vtpmctl rebase " + name + "' gives it one of its own, 'vtpmctl delete' removes it");
    case store::Role::snapshot:
      return fail(ErrorCode::failed_precondition,
                  name + " is a snapshot, which is never started or changed",
                  "'vtpmctl clone " + name + " NAME' makes a device from it, 'vtpmctl rollback " +
                      name + "' goes back to it");
    case store::Role::moved:
      return fail(ErrorCode::failed_precondition,
                  name + " was exported: it is another host's device",
                  "'vtpmctl export' gives the file again, for the same recipient");
    case store::Role::retired: break;
  }
  return fail(ErrorCode::failed_precondition,
              name + " is retired: another device has taken its place",
              "it has no state any more; 'vtpmctl lineage " + name + "' says what became of it");
}

void Device::start(std::vector<Event> measured, Done done) {
  if (auto usable = check_role(); !usable) return done(std::move(usable));
  const bool asked = !measured.empty();
  auto events = to_measure(std::move(measured));
  if (!events) return done(tl::unexpected<Error>(std::move(events).error()));
  if (phase_ == Phase::on || phase_ == Phase::parked || phase_ == Phase::detached) {
    if (!asked) return done(Result<void>{});
    return done(fail(ErrorCode::failed_precondition,
                     "the device is on: nothing can be measured before its use any more",
                     "'vtpmctl power-cycle --measure' resets its PCRs and measures, or stop it"));
  }
  if (phase_ == Phase::failed)
    return done(fail(ErrorCode::failed_precondition, "the device has failed: " + record_.failure,
                     "'vtpmctl power-cycle' starts it anew and resets its PCRs"));
  if (goal_ != Goal::none)
    return done(fail(ErrorCode::busy, "the device is " + std::string(to_string(phase_)),
                     "try again in a moment"));
  done_ = waits_to_be_on() ? or_wait(std::move(done)) : std::move(done);
  goal_ = Goal::start;
  set_phase(Phase::starting);
  measured_ = *std::move(events);
  measures_anew_ = asked;
  // Figure 7: a read-write device without an identity gets one, a read-only device never does.
  if (!read_only() && !has_identity_) return make_identity();
  begin_start();
}

void Device::begin_start() {
  arm(kStartLimit,
      [this] { worker_.alive() ? worker_.kill_for("it was not ready in time") : take_down(); });
  if (auto started = power_on(); !started) {
    finish(tl::unexpected<Error>(std::move(started).error()));
    take_down();
  }
}

Result<void> Device::power_on() {
  VTPM_CHECK(acquire());
  VTPM_TRY(auto stored, stored_checkpoint());
  Checkpoint first = cold_checkpoint(stored, record_.version.generation);
  const bool goes_on = goes_on_running(stored);
  if (goes_on) first.volatile_state = std::move(stored->volatile_state);
  VTPM_TRY(auto descriptors, node_->power_on());
  registered_ = !node_->registers();
  crashes_.forget();
  if (goes_on) VTPM_CHECK(publish_measured());
  return launch(std::move(first), std::move(descriptors), goes_on);
}

void Device::discard_stale_node() {
  if (phase_ != Phase::off) return;
  // Its own copy of a log may be for its first power-on.
  if (measures()) host_.event_logs.unpublish(record_.settings.name);
  if (node_->exists()) take_down();
}

bool Device::can_park() const {
  return phase_ == Phase::on && goal_ == Goal::none && worker_ready_ && copies_.empty();
}

void Device::rest(Done done) { send_away(privsep::Stop::How::rest, std::move(done)); }

void Device::park(Done done) {
  if (done_) finish(fail(ErrorCode::unavailable, "vtpmd is stopping"));
  if (!worker_.alive()) return done(Result<void>{});
  worker_.expect_end();
  send_away(privsep::Stop::How::park, std::move(done));
}

void Device::send_away(privsep::Stop::How how, Done done) {
  done_ = std::move(done);
  goal_ = Goal::park;
  may_stay_ = how == privsep::Stop::How::rest;
  arm(kStopLimit, [this] { worker_.kill(); });
  // Every reply's effect is kept already: a kill loses nothing.
  if (!worker_.send(privsep::Stop{how})) return worker_.kill();
  node_->wake();
}

// A transition is under way: false if there is none. One that parks ends by itself in a moment, and
// `later` follows it, also if the worker stays; not if vtpmd ends.
bool Device::busy_with(const Done& done, const std::function<void()>& later) {
  if (goal_ == Goal::none) return false;
  if (goal_ == Goal::park) {
    done_ = [first = std::move(done_), done, later](const Result<void>& result) {
      if (first) first(result);
      const bool over = result || result.error().code == ErrorCode::busy;
      over ? later() : done(result);
    };
  } else {
    done(fail(ErrorCode::busy, "the device is " + std::string(to_string(phase_)),
              "try again in a moment"));
  }
  return true;
}

void Device::stop(bool release_number, Done done) {
  if (phase_ == Phase::off) return done(stay_off());
  if (busy_with(done, [=, this] { stop(release_number, done); })) return;
  // An orderly end is for the engine to make, also of a device that is parked.
  const bool parked = phase_ == Phase::parked;
  done_ = std::move(done);
  goal_ = Goal::stop;
  release_after_stop_ = release_number;
  set_phase(Phase::stopping);
  if (parked) {
    if (auto resumed = resume_warm(); !resumed)
      log::warning("a parked device is stopped without an orderly end",
                   {{"device", record_.settings.name}, {"why", resumed.error().message}});
  }
  if (!worker_.alive()) return take_down();
  arm(kStopLimit, [this] { worker_.kill(); });
  worker_.expect_end();
  if (failure_mode_) return worker_.kill();
  if (worker_ready_) power_off_worker();  // else when it is ready
}

// One that waits to be powered on does so no more.
Result<void> Device::stay_off() {
  if (!waits_to_be_on()) return {};
  if (goal_ == Goal::none && timer_ != 0) host_.loop.cancel(std::exchange(timer_, 0));
  waits_for_.clear();
  record_.powered = false;
  return host_.store.set_powered(record_.uuid, record_.version, false);
}

void Device::power_off_worker() {
  if (!worker_.send(privsep::Stop{privsep::Stop::How::power_off})) return worker_.kill();
  node_->wake();
}

void Device::power_cycle(const std::vector<Event>& measured, Done done) {
  Result<std::vector<Event>> next = measured_;
  if (!measured.empty() || measured_.empty()) next = to_measure(measured);
  if (!next) return done(tl::unexpected<Error>(std::move(next).error()));
  if (phase_ == Phase::off)
    return done(fail(ErrorCode::failed_precondition, "the device is off", "start it"));
  if (busy_with(done, [=, this] { power_cycle(measured, done); })) return;
  measured_next_ = *std::move(next);
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
  const Error error = std::move(cycled).error();
  finish(tl::unexpected<Error>(error));
  fail_with(error.message);
}

Result<void> Device::power_cycle_now() {
  VTPM_CHECK(acquire());
  VTPM_TRY(const auto stored, stored_checkpoint());
  VTPM_TRY(auto descriptors, node_->exists() ? node_->power_cycle() : node_->power_on());
  registered_ = registered_ || !node_->registers();
  VTPM_CHECK(host_.store.set_failure(record_.uuid, record_.version, ""));
  record_.failure.clear();
  crashes_.forget();
  measured_ = std::move(measured_next_);
  return launch(cold_checkpoint(stored, record_.version.generation), std::move(descriptors));
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
  const bool expected = phase_ == Phase::starting || phase_ == Phase::detached;
  if (!expected || !worker_ready_ || !registered_) return;
  if (phase_ == Phase::starting)
    if (auto stored = host_.store.set_powered(record_.uuid, record_.version, true); !stored)
      log::warning("the store does not take that the device is on",
                   {{"device", record_.settings.name}, {"why", stored.error().message}});
  record_.powered = true;
  set_phase(Phase::on);
  if (goal_ == Goal::start || goal_ == Goal::resume) finish({});
  ask_what_runs();
  // It was parked when it was asked for.
  if (goal_ == Goal::identity) make_identity();
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
  forget_measured();
  Result<void> result = host_.journals.remove(record_.uuid);
  if (power_on_later_) {  // the record says that it is to be on, and that stays so
    set_phase(Phase::off);
    return power_on_later();
  }
  if (result) result = host_.store.set_powered(record_.uuid, record_.version, false);
  if (result && !record_.failure.empty())
    result = host_.store.set_failure(record_.uuid, record_.version, "");
  record_.powered = false;
  record_.failure.clear();
  set_phase(Phase::off);
  finish(std::move(result));
}

}  // namespace vtpm::device
