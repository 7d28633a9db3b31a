// SPDX-License-Identifier: Apache-2.0
// What makes a copy a device of its own.
//
// Its record says that it is quarantined, in the same transaction that brings its state, until
// another one brings the state that was rebased. It has no session and no loaded key.
// Source: Documentation/design/identity.rst; US 2014/0040890, figures 3 to 6.
#include <utility>

#include "device/device.h"

namespace vtpm::device {

// An identity for `device`, by an event that follows those of the source and whose generation is
// above this one, too; with the order to make it of the source's state.
Result<NewIdentity> Device::descendant(const store::Record& source, identity::EventKind kind,
                                       const Uuid& device, std::uint64_t above,
                                       privsep::Manufacture& order) {
  VTPM_TRY(auto state, host_.vault.open(source));
  VTPM_TRY(auto lineage, host_.vault.read_lineage(source));
  if (!state || !lineage)
    return fail(ErrorCode::corrupt, "the record of a copy lacks its state or its lineage");
  VTPM_TRY(NewIdentity identity,
           NewIdentity::descend(*std::move(lineage), kind, device,
                                static_cast<privsep::DeviceKind>(record_.settings.kind), above));
  VTPM_TRY(order, identity.order(identity_profile()));
  order.copy = std::move(state->permanent);
  order.running = std::move(state->volatile_state);
  return identity;
}

Result<NewIdentity> Device::identity_of_copy(privsep::Manufacture& order) {
  VTPM_TRY(const store::Record record, host_.store.get(record_.uuid));
  VTPM_TRY(NewIdentity identity,
           descendant(record, identity::EventKind::clone, record_.uuid, 0, order));
  order.fresh_storage = record_.settings.role == store::Role::quarantined_fresh_storage;
  return identity;
}

void Device::rebase(Done done) {
  if (!is_quarantined()) return done(check_role());
  if (in_transition())
    return done(fail(ErrorCode::busy, "the device gets an identity", "try again in a moment"));
  done_ = std::move(done);
  goal_ = Goal::identity;
  make_identity();
}

}  // namespace vtpm::device
