// SPDX-License-Identifier: Apache-2.0
// How devices go: with their snapshots, and also if nobody can read what their record says.
#include <fmt/format.h>

#include "device/manager.h"
#include "device/manager_on_loop.h"

namespace vtpm::device {

Result<void> Manager::remove(const std::string& name, bool release_number, bool force) {
  std::optional<Error> not_stopped;
  if (force) {
    if (auto stopped = stop(name, release_number); !stopped)
      not_stopped = std::move(stopped).error();
  }
  auto removed = on_loop<View>([this, name, release_number, force, not_stopped](auto done) {
    auto device = find(name);
    if (!device && device.error().code == ErrorCode::corrupt) return done(remove_damaged(name));
    if (!device) return done(tl::unexpected<Error>(std::move(device).error()));
    Device& d = **device;
    if (d.phase() == Phase::off && d.in_transition())
      return done(fail(ErrorCode::busy, "the device gets an identity", "try again in a moment"));
    if (d.phase() != Phase::off && not_stopped) return done(tl::unexpected<Error>(*not_stopped));
    if (d.phase() != Phase::off)
      return done(fail(ErrorCode::failed_precondition,
                       "the device is " + std::string(to_string(d.phase())),
                       "stop it first, or delete it with --force"));
    if (d.record().settings.role == store::Role::moved && !force)
      return done(
          fail(ErrorCode::failed_precondition,
               "the device lives on another host, and this record has the file that it left "
               "as and its family's key",
               "'vtpmctl delete --force', once it has arrived there and revocation lists of "
               "the family are not needed any more"));
    const View view = d.view();
    const auto snapshots = snapshots_of(view.settings.name);
    if (!snapshots.empty() && !force)
      return done(fail(ErrorCode::failed_precondition,
                       fmt::format("the device has {} snapshot{}", snapshots.size(),
                                   snapshots.size() == 1 ? "" : "s"),
                       "'vtpmctl snapshot list " + view.settings.name +
                           "' shows them; --force deletes them, too"));
    for (const View& snapshot : snapshots) {
      if (auto gone = remove_record(snapshot.uuid); !gone)
        return done(tl::unexpected<Error>(std::move(gone).error()));
      forget(snapshot);
    }
    if (auto gone = remove_record(d.uuid()); !gone)
      return done(tl::unexpected<Error>(std::move(gone).error()));
    if (release_number) (void)d.release_number();
    forget(view);
    done(view);
  });
  if (!removed) return tl::unexpected<Error>(std::move(removed).error());
  return {};
}

void Manager::forget(const View& view) {
  archive_->vault().forget(view.uuid);
  event_logs_->drop(view.uuid);
  bulletin_.forget(view.uuid);
  names_.erase(view.settings.name);
  devices_.erase(view.uuid);
  damaged_.erase(view.uuid);
  bulletin_.post(Notice::Kind::deleted, view);
}

Result<void> Manager::remove_record(const Uuid& uuid) {
  Records& records = archive_->records();
  const auto fresh = records.get(uuid);
  if (fresh) {
    VTPM_TRY(const store::Withdrawn withdrawn, archive_->withdraw(*fresh));
    VTPM_CHECK(records.remove(uuid, fresh->version, withdrawn));
  } else if (fresh.error().code == ErrorCode::corrupt) {
    VTPM_CHECK(records.discard(uuid));
  } else {
    return tl::unexpected<Error>(fresh.error());
  }
  return journals_->remove(uuid);
}

// Its node may still be there, from before the damage.
Result<View> Manager::remove_damaged(const std::string& name_or_uuid) {
  std::optional<Uuid> uuid = Uuid::parse(name_or_uuid);
  if (const auto name = names_.find(name_or_uuid); name != names_.end()) uuid = name->second;
  View view = damaged_.at(*uuid);
  for (const View& snapshot : snapshots_of(view.settings.name)) {
    VTPM_CHECK(remove_record(snapshot.uuid));
    forget(snapshot);
  }
  VTPM_CHECK(remove_record(view.uuid));
  event_logs_->remove(view.uuid, view.settings.name);
  if (kernel_) (void)kernel_->destroy(view.uuid);
  forget(view);
  return view;
}

}  // namespace vtpm::device
