// SPDX-License-Identifier: Apache-2.0
// A device gets an identity, before its first start in read-write mode or by a change of mode; or
// it loses the one that it has.
#include <utility>

#include "base/log.h"
#include "device/device.h"

namespace vtpm::device {

using privsep::DeviceMode;

void Device::set_mode(DeviceMode mode, Done done) {
  if (auto usable = check_role(); !usable) return done(std::move(usable));
  if (mode == (read_only() ? DeviceMode::read_only : DeviceMode::read_write))
    return done(Result<void>{});
  if (mode == DeviceMode::read_only)
    return done(fail(ErrorCode::failed_precondition,
                     "a read-write device has keys and secrets, and guests that rely on them",
                     "create a read-only device; 'vtpmctl generalize' wipes all identity"));
  if (phase_ == Phase::failed)
    return done(fail(ErrorCode::failed_precondition, "the device has failed: " + record_.failure,
                     "'vtpmctl power-cycle' starts it anew and resets its PCRs"));
  if (busy_with(done, [=, this] { set_mode(mode, done); })) return;
  if (phase_ != Phase::off && phase_ != Phase::on && phase_ != Phase::parked)
    return done(fail(ErrorCode::busy, "the device is " + std::string(to_string(phase_)),
                     "try again in a moment"));
  if (waits_to_be_on())  // as before, and from the identity on if it gets one
    done = [this, done = std::move(done)](const Result<void>& result) {
      done(result);
      if (waits_to_be_on()) power_on_later();
    };
  done_ = std::move(done);
  goal_ = Goal::identity;
  if (phase_ != Phase::parked) return make_identity();
  // The worker that is to take the identity comes first.
  set_phase(Phase::detached);
  arm(kStartLimit, [this] { worker_.kill_for("it was not ready in time"); });
  if (auto resumed = resume_warm(); !resumed) {
    finish(tl::unexpected<Error>(resumed.error()));
    try_again(resumed.error());
  }
}

privsep::IdentityProfile Device::identity_profile() const {
  const std::uint8_t own = record_.settings.cert_profile;
  return own == 0 ? host_.identity_profile : static_cast<privsep::IdentityProfile>(own);
}

void Device::make_identity() {
  identity_wanted_ = true;
  arm(kIdentityLimit, [this] {
    if (!founding_) return maker_.cancel("it was not ready in time");
    identity_failed({ErrorCode::timed_out, "the certificate of its family was not signed in time",
                     "the log says what the command of --ca-sign-command did"});
  });
  privsep::Manufacture order;
  if (rollback_) return make_identity(identity_of_successor(order), order);
  if (is_quarantined()) return make_identity(identity_of_copy(order), order);
  found_family();
}

// It has no forebear.
void Device::found_family() {
  founding_ = std::make_shared<Host::Founded>([this](Result<identity::Family> family) {
    founding_.reset();
    privsep::Manufacture order;
    make_identity(first_identity(std::move(family), order), order);
  });
  host_.found_family(founding_);
}

Result<NewIdentity> Device::first_identity(Result<identity::Family> founded,
                                           privsep::Manufacture& order) {
  VTPM_TRY(identity::Family family, std::move(founded));
  const auto kind = read_only() ? identity::EventKind::promote : identity::EventKind::create;
  VTPM_TRY(NewIdentity identity,
           NewIdentity::found(std::move(family), kind, record_.uuid,
                              static_cast<privsep::DeviceKind>(record_.settings.kind)));
  VTPM_TRY(order, identity.order(identity_profile()));
  order.ahead = host_.seedlings.take(identity_profile());
  return identity;
}

void Device::make_identity(Result<NewIdentity> identity, const privsep::Manufacture& order) {
  if (!identity) return identity_failed(std::move(identity).error());
  identity->publish_lists_at(host_.lists_at);
  from_seedling_ = !order.ahead.empty();
  if (from_seedling_)
    log::info("device gets an identity that was begun ahead of need",
              {{"device", record_.settings.name}});
  auto started = maker_.start(*std::move(identity), order,
                              [this](Result<MadeIdentity> made) { on_identity(std::move(made)); });
  if (!started) identity_failed(std::move(started).error());
}

void Device::on_identity(Result<MadeIdentity> made) {
  if (std::exchange(from_seedling_, false) && !made) host_.seedlings.distrust();
  if (!std::exchange(identity_wanted_, false)) return;  // who asked has been answered
  if (!made) return identity_failed(std::move(made).error());
  if (rollback_) {
    auto done = commit_rollback(*std::move(made));
    return done ? finish({}) : identity_failed(std::move(done).error());
  }
  const bool running = goal_ == Goal::identity && phase_ != Phase::off;
  if (!running) {
    if (auto asked = commit_identity(*std::move(made)); !asked)
      identity_failed(std::move(asked).error());
    return;
  }
  // The worker commits it (on_commit), and both change in that moment.
  if (phase_ != Phase::on || !worker_ready_)
    return identity_failed({ErrorCode::unavailable, "the device's worker has died meanwhile",
                            "try again in a moment"});
  arm(kStopLimit, [this] { worker_.kill_for("it does not take its identity"); });
  identity_sent_ = true;
  lineage_sent_ = std::move(made->lineage);
  if (!worker_.send(privsep::TakeIdentity{std::move(made->permanent)})) return worker_.kill();
  node_->wake();
}

// The device is off: the identity is what its next power-on begins from.
Result<void> Device::commit_identity(MadeIdentity made) {
  VTPM_CHECK(acquire());
  Checkpoint first;
  first.permanent_version = record_.version.generation + 1;
  first.permanent = std::move(made.permanent);
  first.volatile_state = std::move(made.volatile_state);
  host_.committer.add(record_, first,
                      [this, epoch = record_.version.epoch](const Result<store::Version>& version,
                                                            const Bytes& wrapped_key) {
                        on_identity_committed(epoch, version, wrapped_key);
                      },
                      {.mode = static_cast<std::uint8_t>(DeviceMode::read_write),
                       .lineage = std::move(made.lineage),
                       .role = store::Role::device});
  return {};
}

void Device::on_identity_committed(std::uint64_t epoch, const Result<store::Version>& version,
                                   const Bytes& wrapped_key) {
  if (epoch != record_.version.epoch) return;
  if (!version) {
    outcome_unknown_ = version.error().code == ErrorCode::unknown_outcome;
    return identity_failed(version.error());
  }
  note_committed(*version, wrapped_key);
  record_.settings.role = store::Role::device;
  goal_ == Goal::start ? begin_start() : finish({});
}

void Device::identity_failed(Error error) {
  log::error("device gets no identity",
             {{"device", record_.settings.name}, {"why", error.message}});
  const bool starting = goal_ == Goal::start;
  finish(tl::unexpected<Error>(std::move(error)));
  if (starting) take_down();
}

// One commit takes state, key and mode. Before it the device is what it was; after it, nothing that
// it was can be opened again, so no worker and no later manager has to be told.
Result<void> Device::generalize() {
  VTPM_CHECK(check_role());
  if (read_only()) return {};
  if (phase_ != Phase::off || in_transition() || !waits_for_.empty())
    return fail(ErrorCode::failed_precondition,
                "the device is " +
                    (phase_ == Phase::off ? "to be powered on" : std::string(to_string(phase_))),
                "stop it first: its keys are taken from it");
  VTPM_CHECK(acquire());
  VTPM_TRY(const store::Record whole, host_.store.get(uuid()));
  VTPM_TRY(store::Withdrawn withdrawn, host_.withdraw(whole));
  host_.vault.forget(uuid());
  const store::Store::CommitRequest nothing{
      .uuid = uuid(),
      .expected = record_.version,
      .state = {},
      .wrapped_key = {},
      .voucher = {},
      .mode = static_cast<std::uint8_t>(DeviceMode::read_only),
      .withdrawn = std::move(withdrawn)};
  const auto version = std::move(host_.store.commit_all({nothing}).front());
  if (!version) {
    outcome_unknown_ = version.error().code == ErrorCode::unknown_outcome;
    return tl::unexpected<Error>(version.error());
  }
  record_.version = *version;
  record_.wrapped_key.clear();
  record_.settings.mode = nothing.mode;
  has_identity_ = false;
  log::notice("device is read-only: its identity was wiped",
              {{"device", record_.settings.name}, {"uuid", record_.uuid.to_string()}});
  host_.bulletin.post(Notice::Kind::state_changed, view());
  return host_.journals.remove(uuid());
}

// The store has just taken it.
void Device::note_read_write() {
  record_.settings.mode = static_cast<std::uint8_t>(DeviceMode::read_write);
  log::info("device is read-write, with an identity of its own",
            {{"device", record_.settings.name}, {"uuid", record_.uuid.to_string()}});
  host_.bulletin.post(Notice::Kind::state_changed, view());
  if (goal_ == Goal::identity && phase_ == Phase::on) finish({});
}

}  // namespace vtpm::device
