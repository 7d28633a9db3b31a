// SPDX-License-Identifier: Apache-2.0
// Devices that leave for another host, and that come from one.
#include "base/log.h"
#include "device/manager.h"
#include "device/manager_on_loop.h"
#include "device/parcel.h"
#include "identity/hpke.h"
#include "identity/verify.h"

namespace vtpm::device {
namespace {

using privsep::DeviceKind;
using privsep::DeviceMode;
using privsep::NodeKind;

template <class Enum>
bool within(std::uint8_t value, Enum last) {
  return value >= 1 && value <= static_cast<std::uint8_t>(last);
}

// Who has this host's public key could have made the file. Whatever it holds, the device is then
// one whose identity is in itself true; who vouches for it is its own root, not this host.
Result<void> check(const Parcel& parcel) {
  const auto refused = [](const std::string& why) {
    return fail(ErrorCode::invalid_argument, "the device in the file is not sound: " + why,
                "export it again");
  };
  const store::Settings& s = parcel.settings;
  if (!within(s.kind, DeviceKind::open) || !within(s.node, NodeKind::socket) ||
      s.mode != static_cast<std::uint8_t>(DeviceMode::read_write) || !store::valid_name(s.name))
    return refused("it has settings that there are not");
  VTPM_TRY(const identity::Lineage lineage, identity::decode_lineage(parcel.lineage));
  if (lineage.above.empty()) return refused("nobody is above its family");
  VTPM_CHECK(identity::Family::load(lineage.family_key, lineage.family_certificate));
  identity::Evidence evidence;
  evidence.root = lineage.above.back();
  evidence.issuers = lineage.above;
  evidence.issuers.push_back(lineage.family_certificate);
  evidence.certificate = lineage.certificates.back();
  evidence.log = identity::to_text(lineage.log);
  const auto verified = identity::verify(evidence);
  if (!verified) return refused(verified.error().why);
  if (verified->device != parcel.uuid) return refused("its certificates are another device's");
  return {};
}

}  // namespace

Result<std::string> Manager::recipient() {
  return on_loop<std::string>([this](auto done) {
    const auto key = archive_->exchange_key();
    if (!key) return done(tl::unexpected<Error>(key.error()));
    const auto point = identity::exchange_public_key(*key);
    if (!point) return done(tl::unexpected<Error>(point.error()));
    done(identity::exchange_key_to_pem(*point));
  });
}

Result<Bytes> Manager::export_device(const std::string& name, const std::string& recipient) {
  VTPM_TRY(const Bytes point, identity::exchange_key_from_pem(recipient));
  return on_loop<Bytes>([this, name, point](auto done) {
    const auto device = find(name);
    if (!device) return done(tl::unexpected<Error>(device.error()));
    const auto own = archive_->exchange_key();
    if (!own) return done(tl::unexpected<Error>(own.error()));
    if (const auto here = identity::exchange_public_key(*own); here && *here == point)
      return done(fail(ErrorCode::invalid_argument, "this is the host that the device is on",
                       "give the key that 'vtpmctl host-key recipient' gives on the other host"));
    const store::Settings& settings = (*device)->record().settings;
    if (settings.role == store::Role::device && !snapshots_of(settings.name).empty())
      return done(fail(ErrorCode::failed_precondition,
                       "the device has snapshots, which would stay here with its secrets",
                       "'vtpmctl snapshot list " + settings.name + "' shows what to delete first"));
    committer_->flush();
    done((*device)->export_to(point));
  });
}

Result<View> Manager::import_device(const Bytes& file, const std::string& name,
                                    const std::optional<std::string>& owner) {
  return on_loop<View>([this, file, name, owner](auto done) {
    const auto imported = [&]() -> Result<View> {
      VTPM_TRY(const SecretBytes key, archive_->exchange_key());
      VTPM_TRY(Parcel parcel, open_parcel(file, key));
      VTPM_CHECK(check(parcel));
      // Asked before a key is made for it: the record that is there has one.
      if (devices_.contains(parcel.uuid) || damaged_.contains(parcel.uuid))
        return fail(ErrorCode::exists, "the device is here, or left from here",
                    "a device moves to a host once");
      if (!name.empty()) parcel.settings.name = name;
      if (owner) parcel.settings.owner = *owner;
      Checkpoint first;
      first.permanent = std::move(parcel.permanent);
      first.permanent_version = 1;
      VTPM_TRY(const store::Record record,
               archive_->vault().begin(parcel.uuid, parcel.settings, first,
                                       std::move(parcel.lineage), parcel.epoch + 1));
      const auto added = add(record);
      if (!added) {
        archive_->vault().forget(record.uuid);
        return tl::unexpected<Error>(added.error());
      }
      log::notice("device was imported from another host",
                  {{"device", record.settings.name}, {"uuid", record.uuid.to_string()}});
      return (*added)->view();
    };
    done(imported());
  });
}

}  // namespace vtpm::device
