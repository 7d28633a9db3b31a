// SPDX-License-Identifier: Apache-2.0
// What a person may change of a device while it lives.
#include "device/manager.h"

namespace vtpm::device {

Result<View> Manager::set(const std::string& name, const Changes& changes) {
  return change(name, [this, changes](Device& device, const Device::Done& done) {
    done(apply(device, changes));
  });
}

Result<void> Manager::apply(Device& device, const Changes& changes) {
  store::Settings settings = device.record().settings;
  if (changes.owner && *changes.owner != settings.owner) {
    settings.owner = *changes.owner;
    VTPM_CHECK(check_owner_quota(options_.quota, holdings(settings.owner), settings.owner));
  }
  if (changes.park_after_s) settings.park_after_s = *changes.park_after_s;
  if (changes.cert_profile && *changes.cert_profile != settings.cert_profile) {
    if (device.has_keys())
      return fail(ErrorCode::failed_precondition,
                  "the device has its keys and certificates already",
                  "their profile is chosen before the first start in read-write mode");
    settings.cert_profile = *changes.cert_profile;
  }
  VTPM_CHECK(check_parking(settings));
  VTPM_CHECK(device.set(settings));
  parking_->look_anew();
  return {};
}

Result<View> Manager::set_mode(const std::string& name, privsep::DeviceMode mode) {
  return change(name, [this, mode](Device& d, Device::Done done) {
    store::Settings wanted = d.record().settings;
    const bool grows =
        wanted.mode != static_cast<std::uint8_t>(mode) && mode == privsep::DeviceMode::read_write;
    if (grows) {
      Holdings others = holdings(wanted.owner);
      others.read_only--;
      others.of_owner--;
      wanted.mode = static_cast<std::uint8_t>(mode);
      if (auto room = check_quota(options_.quota, others, wanted); !room)
        return done(tl::unexpected<Error>(std::move(room).error()));
    }
    d.set_mode(mode, std::move(done));
  });
}

Result<View> Manager::generalize(const std::string& name) {
  return change(name, [this](Device& d, const Device::Done& done) {
    const auto snapshots = snapshots_of(d.record().settings.name);
    if (!snapshots.empty())
      return done(fail(ErrorCode::failed_precondition,
                       "the device has a snapshot, which holds its keys and secrets: " +
                           snapshots.front().settings.name,
                       "'vtpmctl snapshot delete' wipes it"));
    done(d.generalize());
  });
}

}  // namespace vtpm::device
