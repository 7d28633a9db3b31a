// SPDX-License-Identifier: Apache-2.0
// What a person may change of a device while it lives, and what another one takes of it.
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
  return change(name, [](Device& d, const Device::Done& done) { done(d.generalize()); });
}

Result<store::Settings> Manager::settings_from(const std::string& source) {
  // Changes nothing; unlike show(), it refuses a device whose record is damaged.
  VTPM_TRY(View view, change(source, [](Device&, const Device::Done& done) { done({}); }));
  store::Settings settings = std::move(view.settings);
  if (settings.mode != static_cast<std::uint8_t>(privsep::DeviceMode::read_only))
    return fail(ErrorCode::failed_precondition,
                "the device " + settings.name + " has an identity, or is to get one",
                "name a template or a read-only device");
  settings.name.clear();
  settings.socket_path.clear();
  settings.role = store::Role::device;
  settings.mode = static_cast<std::uint8_t>(privsep::DeviceMode::read_write);
  return settings;
}

}  // namespace vtpm::device
