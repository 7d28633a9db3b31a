// SPDX-License-Identifier: Apache-2.0
// A device goes back to a snapshot of its: a clone of that takes its place.
//
// Nothing of the clone is in the store before it has an identity of its own. Then one transaction
// makes its record and takes this device's state away, so that there is one device of that name at
// any time, and never two that could answer. Source: Documentation/design/identity.rst; US
// 2014/0040890, claims 2 and 16.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "device/device.h"

namespace vtpm::device {

void Device::roll_back(Rollback to, Done done) {
  if (auto usable = check_role(); !usable) return done(std::move(usable));
  if (phase_ != Phase::off || in_transition() || !waits_for_.empty())
    return done(fail(ErrorCode::failed_precondition, "the device is in use, or about to be",
                     "stop it first, or have it stopped with --stop"));
  rollback_ = std::move(to);
  done_ = std::move(done);
  goal_ = Goal::identity;
  make_identity();
}

// Of the snapshot's identity, and past all that this device has been.
Result<NewIdentity> Device::identity_of_successor(privsep::Manufacture& order) {
  VTPM_TRY(const store::Record snapshot, host_.store.get(rollback_->snapshot));
  VTPM_TRY(const store::Record present, host_.store.get(record_.uuid));
  VTPM_TRY(const auto state, host_.vault.open(present));
  VTPM_TRY(const auto own, host_.vault.read_lineage(present));
  VTPM_TRY(const auto then, host_.vault.read_lineage(snapshot));
  if (!state || !own || !then)
    return fail(ErrorCode::failed_precondition, "the device has no identity that could go back");
  if (own->family_certificate != then->family_certificate)
    return fail(ErrorCode::failed_precondition,
                "the snapshot is not of this device: it is of another family",
                "'vtpmctl clone' makes a device of its own from it");
  VTPM_TRY(const identity::Standing standing, identity::replay(own->log));
  VTPM_TRY(NewIdentity identity, descendant(snapshot, identity::EventKind::rollback,
                                            rollback_->successor, standing.generation, order));
  const ByteView permanent = state->permanent;
  order.predecessor =
      to_secret(permanent.first(std::min(permanent.size(), privsep::kMaxPredecessor)));
  return identity;
}

Result<void> Device::commit_rollback(MadeIdentity made) {
  VTPM_CHECK(acquire());
  store::Store::Succession succession{.retired = record_.uuid,
                                      .expected = record_.version,
                                      .retired_name = rollback_->retired_name,
                                      .wrapped_key = {},
                                      .lineage = {},
                                      .voucher = {},
                                      .successor = {},
                                      .gone = rollback_->newer};
  VTPM_TRY(const store::Record present, host_.store.get(record_.uuid));
  VTPM_TRY(auto remains, host_.vault.read_lineage(present));
  if (!remains) return fail(ErrorCode::corrupt, "the record has lost its lineage");
  remains->seed_bytes.clear();  // no seed is to be derived again
  VTPM_TRY(auto kept, host_.vault.retire(record_.uuid, encode(*remains)));
  succession.wrapped_key = std::move(kept.wrapped_key);
  succession.lineage = std::move(kept.lineage);
  Checkpoint first;
  first.permanent = std::move(made.permanent);
  first.volatile_state = std::move(made.volatile_state);
  first.permanent_version = 1;
  VTPM_TRY(succession.successor, host_.vault.begin(rollback_->successor, record_.settings, first,
                                                   std::move(made.lineage)));
  const Bytes wrapped_key = succession.wrapped_key;
  if (auto done = host_.store.succeed(std::move(succession)); !done) {
    host_.vault.forget(rollback_->successor);
    return done;
  }
  if (auto log = host_.event_logs.kept(rollback_->snapshot))
    (void)host_.event_logs.keep(rollback_->successor, *log);
  retire(rollback_->retired_name, wrapped_key);
  return {};
}

// The store says so already.
void Device::retire(const std::string& name, const Bytes& wrapped_key) {
  log::notice(
      "device is retired: another one has taken its place",
      {{"device", record_.settings.name}, {"uuid", record_.uuid.to_string()}, {"as", name}});
  host_.vault.forget(record_.uuid);
  record_.settings.name = name;
  record_.settings.role = store::Role::retired;
  record_.version.generation++;
  record_.wrapped_key = wrapped_key;
  has_identity_ = false;
  (void)host_.journals.remove(record_.uuid);  // of a device that is off there is none
  host_.bulletin.post(Notice::Kind::state_changed, view());
}

}  // namespace vtpm::device
