// SPDX-License-Identifier: Apache-2.0
// Snapshots of devices, and the way back to one (US 2014/0040890, claims 2 and 16).
//
// A snapshot is a record of its own, of Role::snapshot: sealed, vouched for and kept as all are.
// Its name says whose it is, DEVICE@SNAPSHOT; so it stays with the name when another device takes
// that.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "device/manager.h"
#include "device/manager_on_loop.h"

namespace vtpm::device {
namespace {

std::string device_part(const std::string& name) { return name.substr(0, name.find('@')); }

std::uint64_t microseconds_now() {
  using std::chrono::duration_cast;
  using std::chrono::microseconds;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::max<std::int64_t>(1, duration_cast<microseconds>(now).count()));
}

}  // namespace

std::vector<View> Manager::snapshots_of(const std::string& device) const {
  const std::string prefix = device + "@";
  std::vector<View> snapshots;
  for (auto it = names_.lower_bound(prefix); it != names_.end() && it->first.starts_with(prefix);
       ++it) {
    const auto damaged = damaged_.find(it->second);
    snapshots.push_back(damaged != damaged_.end() ? damaged->second
                                                  : devices_.at(it->second)->view());
  }
  return snapshots;
}

Result<View> Manager::snapshot(const std::string& name) {
  const std::size_t at = name.find('@');
  if (at == std::string::npos)
    return fail(ErrorCode::invalid_argument, name + " names no snapshot",
                "a snapshot is named DEVICE@SNAPSHOT");
  return on_loop<View>([this, name, at](auto done) {
    const auto device = find(device_part(name));
    if (!device) return done(tl::unexpected<Error>(device.error()));
    committer_->flush();  // what the worker has asked for is in the store
    store::Settings settings = (*device)->record().settings;
    settings.name += name.substr(at);
    settings.role = store::Role::snapshot;
    settings.socket_path.clear();
    add_copy(**device, settings, false, std::move(done));
  });
}

// And later than the others of its device, whatever the clock does.
std::uint64_t Manager::now_of(const store::Record& snapshot) {
  std::uint64_t now = microseconds_now();
  for (const View& other : snapshots_of(device_part(snapshot.settings.name)))
    now = std::max(now, other.taken_us + 1);
  return now;
}

Result<Manager::WayBack> Manager::way_back(const std::string& snapshot, bool delete_newer) {
  VTPM_TRY(const Device* const to, find(snapshot));
  const std::string& name = to->record().settings.name;
  if (to->record().settings.role != store::Role::snapshot)
    return fail(ErrorCode::failed_precondition, name + " is no snapshot",
                "'vtpmctl snapshot list' shows all");
  WayBack way;
  way.snapshot = to->uuid();
  VTPM_TRY(way.device, find(device_part(name)));
  std::string names;
  for (const View& other : snapshots_of(device_part(name))) {  // a damaged one is of no time
    if (other.taken_us <= to->record().taken_us) continue;
    way.newer.push_back(other.uuid);
    names += (names.empty() ? "" : ", ") + other.settings.name;
  }
  if (!way.newer.empty() && !delete_newer)
    return fail(ErrorCode::failed_precondition,
                "there are newer snapshots, of what will not have been: " + names,
                "--delete-newer deletes them, too; 'vtpmctl clone' keeps one as a device");
  return way;
}

Result<View> Manager::rollback(const std::string& snapshot, const Return& wanted) {
  VTPM_TRY(const std::string device, on_loop<std::string>([=, this](auto done) {
             const auto way = way_back(snapshot, wanted.delete_newer);
             if (!way) return done(tl::unexpected<Error>(way.error()));
             done(way->device->uuid().to_string());
           }));
  if (wanted.stop) VTPM_CHECK(stop(device, wanted.release_number));
  VTPM_TRY(const View back,
           on_loop<View>([=, this](auto done) { go_back(snapshot, wanted, std::move(done)); }));
  return wanted.start ? start(back.uuid.to_string()) : back;
}

void Manager::go_back(const std::string& snapshot, const Return& wanted,
                      std::function<void(Result<View>)> done) {
  const auto way = way_back(snapshot, wanted.delete_newer);
  if (!way) return done(tl::unexpected<Error>(way.error()));
  const auto successor = Uuid::random();
  if (!successor) return done(tl::unexpected<Error>(successor.error()));
  Device* const device = way->device;
  store::Settings retired = device->record().settings;
  retired.role = store::Role::retired;
  if (auto room = check_quota(options_.quota, holdings({}), retired); !room)
    return done(tl::unexpected<Error>(std::move(room).error()));
  Device::Rollback to{.snapshot = way->snapshot,
                      .successor = *successor,
                      .retired_name = retired_name(retired.name),
                      .newer = {}};
  for (const Uuid& uuid : way->newer)
    to.newer.emplace_back(uuid, devices_.at(uuid)->record().version);
  device->roll_back(std::move(to), [this, device, done = std::move(done), successor = *successor,
                                    newer = way->newer,
                                    release = wanted.release_number](const Result<void>& result) {
    if (!result) return done(tl::unexpected<Error>(result.error()));
    if (release) (void)device->release_number();
    done(install(*device, successor, newer));
  });
}

// What the store has done, done here.
Result<View> Manager::install(const Device& retired, const Uuid& successor,
                              const std::vector<Uuid>& gone) {
  for (const Uuid& uuid : gone) forget(devices_.at(uuid)->view());
  names_[retired.record().settings.name] = retired.uuid();
  VTPM_TRY(const store::Record record, archive_->records().get(successor));
  names_[record.settings.name] = successor;
  auto& device = devices_[successor] = std::make_unique<Device>(*host_, record);
  bulletin_.post(Notice::Kind::created, device->view());
  parking_->look();
  return device->view();
}

// Free, and as long as a name may be.
std::string Manager::retired_name(const std::string& name) const {
  constexpr std::size_t kLongest = 63;
  for (unsigned i = 1;; i++) {
    const std::string end = fmt::format(".retired-{}", i);
    const std::string candidate = name.substr(0, kLongest - end.size()) + end;
    if (!names_.contains(candidate)) return candidate;
  }
}

}  // namespace vtpm::device
