// SPDX-License-Identifier: Apache-2.0
// Devices that are made from others. Source: US 12,386,650 figure 4 (a source without an identity);
// US 2014/0040890 figures 3 to 6 (one that has it): access, copy, rebase.
#include "device/manager.h"
#include "device/manager_on_loop.h"

namespace vtpm::device {

Result<store::Settings> Manager::settings_from(const std::string& source, Source allowed) {
  // Changes nothing; unlike show(), it refuses a device whose record is damaged.
  VTPM_TRY(View view, change(source, [](Device&, const Device::Done& done) { done({}); }));
  store::Settings settings = std::move(view.settings);
  if (allowed == Source::without_identity && !is_read_only(settings))
    return fail(ErrorCode::failed_precondition,
                "the device " + settings.name + " has an identity, or is to get one",
                "'vtpmctl clone' copies it; here, name a template or a read-only device");
  settings.name.clear();
  settings.socket_path.clear();
  settings.role = store::Role::device;
  settings.mode = static_cast<std::uint8_t>(privsep::DeviceMode::read_write);
  return settings;
}

Result<View> Manager::clone(const std::string& source, const store::Settings& settings,
                            const CloneOptions& options) {
  VTPM_TRY(const View from, change(source, [](Device&, const Device::Done& done) { done({}); }));
  const bool copied = from.settings.role != store::Role::device || from.has_identity;
  if (is_read_only(from.settings) || !copied) return create(settings, options.start);
  if (is_read_only(settings))
    return fail(ErrorCode::failed_precondition,
                "a read-only device holds nothing of what the source has",
                "clone it read-write, or 'vtpmctl create --mode read-only'");
  VTPM_TRY(const View made, on_loop<View>([=, this](auto done) {
             const auto device = find(source);
             if (!device) return done(tl::unexpected<Error>(device.error()));
             committer_->flush();  // what the source's worker has asked for is in the store
             store::Settings quarantined = settings;
             quarantined.role = options.fresh_storage ? store::Role::quarantined_fresh_storage
                                                      : store::Role::quarantined;
             add_copy(**device, quarantined, options.cold, std::move(done));
           }));
  const std::string uuid = made.uuid.to_string();
  auto rebased = rebase(uuid);
  if (!rebased) {
    Error error = std::move(rebased).error();
    error.hint = settings.name + " stays quarantined: 'vtpmctl rebase " + settings.name +
                 "' tries again, 'vtpmctl delete' removes it";
    return tl::unexpected<Error>(std::move(error));
  }
  return options.start ? start(uuid) : rebased;
}

void Manager::add_copy(Device& device, const store::Settings& settings, bool cold,
                       std::function<void(Result<View>)> done) {
  const auto uuid = Uuid::random();
  if (!uuid) return done(tl::unexpected<Error>(uuid.error()));
  device.copy(*uuid, settings, cold,
              [this, uuid = *uuid, done = std::move(done)](Result<store::Record> record) {
                if (!record) return done(tl::unexpected<Error>(std::move(record).error()));
                if (record->settings.role == store::Role::snapshot)
                  record->taken_us = now_of(*record);
                const auto added = add(*record);
                archive_->vault().forget(uuid);  // its key is not needed before somebody uses it
                if (added) return done((*added)->view());
                event_logs_->drop(uuid);
                done(tl::unexpected<Error>(added.error()));
              });
}

Result<View> Manager::rebase(const std::string& name) {
  return change(name, [](Device& d, Device::Done done) { d.rebase(std::move(done)); });
}

}  // namespace vtpm::device
