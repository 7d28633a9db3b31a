// SPDX-License-Identifier: Apache-2.0
// A device leaves for another host: moved, not copied.
//
// One commit puts the file that it leaves as in the place of its state. From then on nobody on this
// host can open the state, and the file can be had again, for the same recipient; before it the
// device is what it was. The record stays, as a tombstone that knows where the device went, and for
// the key of its family. Source: Documentation/design/identity.rst.
#include <utility>

#include "base/log.h"
#include "device/device.h"
#include "device/parcel.h"
#include "identity/family.h"

namespace vtpm::device {

// Its family goes on over there with a key of its own, below the one that stays here.
Result<SecretBytes> Device::lineage_elsewhere(const store::Record& record) const {
  VTPM_TRY(auto lineage, host_.vault.read_lineage(record));
  if (!lineage)
    return fail(ErrorCode::failed_precondition,
                "the device got its identity from an older vtpmd, which kept no lineage",
                "only devices that have one can be exported");
  if (lineage->above.empty()) {
    VTPM_TRY(lineage->above, host_.above_family(*lineage));
  }
  VTPM_TRY(const identity::Family family,
           identity::Family::load(lineage->family_key, lineage->family_certificate));
  VTPM_TRY(const identity::Family branch, family.branch(lineage->above));
  lineage->above.insert(lineage->above.begin(), std::move(lineage->family_certificate));
  lineage->family_key = branch.private_key();
  lineage->family_certificate = branch.certificate();
  return identity::encode(*lineage);
}

Result<Bytes> Device::export_again(ByteView recipient) const {
  VTPM_TRY(const store::Record record, host_.store.get(uuid()));
  VTPM_TRY(const bool same, is_for(record.state.bytes, recipient));
  if (!same)
    return fail(ErrorCode::failed_precondition, "the device was exported to another host",
                "there can be one of it alone: give the recipient that it was exported to");
  return record.state.bytes;
}

Result<Bytes> Device::export_to(ByteView recipient) {
  if (record_.settings.role == store::Role::moved) return export_again(recipient);
  VTPM_CHECK(check_role());
  if (read_only() || !has_identity_)
    return fail(ErrorCode::failed_precondition, "the device has no identity that could move",
                "create one on the other host");
  if (phase_ != Phase::off || in_transition() || !waits_for_.empty())
    return fail(ErrorCode::failed_precondition,
                "the device is " +
                    (phase_ == Phase::off ? "to be powered on" : std::string(to_string(phase_))),
                "stop it first: it goes on over there from its next power-on");
  VTPM_CHECK(acquire());
  VTPM_TRY(const store::Record record, host_.store.get(uuid()));
  VTPM_TRY(auto state, host_.vault.open(record));
  if (!state) return fail(ErrorCode::corrupt, "the record of the device lacks its state");
  Parcel parcel{.uuid = uuid(),
                .settings = record.settings,
                .epoch = record.version.epoch,
                .permanent = std::move(state->permanent),
                .lineage = {}};
  VTPM_TRY(parcel.lineage, lineage_elsewhere(record));
  VTPM_TRY(Bytes file, seal(parcel, recipient));
  const store::Store::CommitRequest leave{
      .uuid = uuid(),
      .expected = record_.version,
      .state = {file, record_.version.epoch, record_.version.generation + 1},
      .wrapped_key = {},
      .voucher = {},
      .role = store::Role::moved};
  const auto version = std::move(host_.store.commit_all({leave}).front());
  if (!version) {
    outcome_unknown_ = version.error().code == ErrorCode::unknown_outcome;
    return tl::unexpected<Error>(version.error());
  }
  record_.version = *version;
  record_.settings.role = store::Role::moved;
  log::notice("device was exported: it is another host's",
              {{"device", record_.settings.name}, {"uuid", record_.uuid.to_string()}});
  host_.bulletin.post(Notice::Kind::state_changed, view());
  VTPM_CHECK(host_.journals.remove(uuid()));
  return file;
}

}  // namespace vtpm::device
