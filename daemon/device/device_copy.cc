// SPDX-License-Identifier: Apache-2.0
// A copy of a device, in a record of its own that nobody uses as it is.
//
// The permanent state is what the store has: every permanent change of the source up to its last
// reply. Of a device that is on, its worker tells between two commands what goes along of the rest,
// the PCRs; nobody waits longer for his command than that takes. The worker's messages come in the
// order of its commands, so the store then has the permanent state of that moment.
// Source: US 2014/0040890, figure 3: access, copy.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "device/device.h"

namespace vtpm::device {
namespace {

// A command that makes an RSA key, emulated, is not the end of it.
constexpr std::chrono::seconds kLongest{30};

}  // namespace

void Device::copy(const Uuid& uuid, const store::Settings& settings, bool cold, Copied done) {
  if (record_.settings.role != store::Role::snapshot)
    if (auto usable = check_role(); !usable)
      return done(tl::unexpected<Error>(std::move(usable).error()));
  if (goal_ == Goal::park) {  // what runs is the same before and after
    const Done parked = [done](const Result<void>& result) {
      if (!result) done(tl::unexpected<Error>(result.error()));
    };
    (void)busy_with(parked, [=, this] { copy(uuid, settings, cold, done); });
    return;
  }
  // What a failed device ran with is lost; its keys are not.
  if (cold || phase_ == Phase::off || phase_ == Phase::failed)
    return done(copy_with(uuid, settings, {}, cold));
  if (phase_ == Phase::starting || phase_ == Phase::stopping)
    return done(fail(ErrorCode::busy, "the device is " + std::string(to_string(phase_)),
                     "try again in a moment"));
  const std::uint64_t ticket = ++tickets_;
  const auto limit = host_.loop.after(kLongest, [this, ticket] {
    end_copy(ticket, fail(ErrorCode::busy, "the device does not come to the end of a command",
                          "try again in a moment"));
  });
  copies_.push_back({ticket, uuid, settings, std::move(done), limit});
  phase_ == Phase::parked ? wake() : ask_what_runs();
}

// A worker is asked again for what its predecessor did not tell.
void Device::ask_what_runs() {
  if (phase_ != Phase::on || !worker_ready_) return;
  for (const Copy& copy : copies_)
    if (!worker_.send(privsep::TellRunning{copy.ticket})) return worker_.kill();
  if (!copies_.empty()) node_->wake();
}

void Device::on_running(const privsep::Running& running) {
  host_.committer.flush();  // what the worker asked for before
  end_copy(running.ticket, running.part);
}

void Device::end_copy(std::uint64_t ticket, Result<SecretBytes> part) {
  const auto found = std::ranges::find(copies_, ticket, &Copy::ticket);
  if (found == copies_.end()) return;  // of another manager's, or answered before
  const Copy copy = std::move(*found);
  copies_.erase(found);
  host_.loop.cancel(copy.limit);
  if (!part) return copy.done(tl::unexpected<Error>(std::move(part).error()));
  copy.done(copy_with(copy.uuid, copy.settings, *std::move(part), false));
}

void Device::give_up_copies(const std::string& why) {
  while (!copies_.empty())
    end_copy(copies_.front().ticket, fail(ErrorCode::busy, why, "try again in a moment"));
}

Result<store::Record> Device::copy_with(const Uuid& uuid, const store::Settings& settings,
                                        SecretBytes running, bool cold) {
  VTPM_TRY(const store::Record source, host_.store.get(record_.uuid));
  VTPM_TRY(auto state, host_.vault.open(source));
  if (!state)
    return fail(ErrorCode::failed_precondition, "the device has no identity that could be copied");
  VTPM_TRY(auto lineage, host_.vault.open_lineage(source));
  if (!lineage)
    return fail(ErrorCode::failed_precondition,
                "the device got its identity from an older vtpmd, which kept no lineage",
                "only devices that have one can be copied");
  // A snapshot is a copy itself, and has no more of a volatile state than such a part.
  if (record_.settings.role == store::Role::snapshot && !cold)
    running = std::move(state->volatile_state);
  if (!running.empty()) pass_measured_to(uuid);
  Checkpoint first;
  first.permanent = std::move(state->permanent);
  first.volatile_state = std::move(running);
  first.permanent_version = 1;
  return host_.vault.begin(uuid, settings, first, *std::move(lineage));
}

// PCRs are of use with the log of what they measured.
void Device::pass_measured_to(const Uuid& uuid) const {
  if (!measures()) return;
  const bool snapshot = record_.settings.role == store::Role::snapshot;
  auto log = snapshot ? host_.event_logs.kept(record_.uuid) : measured_;
  if (!log && log.error().code == ErrorCode::not_found) return;  // the host was rebooted
  const auto kept = log ? host_.event_logs.keep(uuid, *log) : tl::unexpected<Error>(log.error());
  if (!kept)
    log::warning("a copy goes without the event log of its source, and without its PCRs",
                 {{"device", record_.settings.name}, {"why", kept.error().message}});
}

// Once in the life of a copy, and only by its first power-on: the epoch is the one after that in
// which its state was sealed. Later, its PCRs would go back to what they have been.
bool Device::goes_on_running(const std::optional<Checkpoint>& stored) {
  const bool never_ran = stored && !stored->volatile_state.empty() && stored->incarnation == 0 &&
                         record_.version.epoch == record_.state.epoch + 1;
  if (!never_ran || measures_anew_) return false;
  if (!measures()) return true;
  auto log = host_.event_logs.kept(record_.uuid);
  if (!log) return false;
  measured_ = *std::move(log);
  return true;
}

}  // namespace vtpm::device
