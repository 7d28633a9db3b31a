// SPDX-License-Identifier: Apache-2.0
// NewIdentity: an identity that is being made, as the manager sees it: the event that brings it
// about, what the worker is told of it, and the certificates of what the worker shows.
//
// The event is fixed, signed and digested before any worker knows of it; so the manager knows what
// LINEAGE and GENERATION become, and certifies an attestation key for these values alone.
// Source: Documentation/design/identity.rst; US 2014/0040890, figure 7.
#pragma once

#include <vector>

#include "base/uuid.h"
#include "identity/family.h"
#include "identity/lineage.h"
#include "privsep/messages.h"

namespace vtpm::device {

class NewIdentity {
 public:
  // One without a forebear, by EventKind::create or promote, in a new family.
  static Result<NewIdentity> found(identity::Family family, identity::EventKind kind,
                                   const Uuid& device, privsep::DeviceKind device_kind);

  // One that comes from another by EventKind::clone or rollback: of its family, with the event
  // added to its log, and an endorsement seed derived for this one device. Its generation is
  // greater than the source's and than `above`.
  static Result<NewIdentity> descend(identity::Lineage source, identity::EventKind kind,
                                     const Uuid& device, privsep::DeviceKind device_kind,
                                     std::uint64_t above = 0);

  // As of identity::Issuer; before certify().
  void publish_lists_at(const std::string& base) { family_.publish_lists_at(base); }
  [[nodiscard]] Result<privsep::Manufacture> order(privsep::IdentityProfile profile) const;
  // What a worker shows is not trusted: if one of the keys is not what the templates give, there is
  // no certificate for any. Once.
  Result<privsep::Certificates> certify(const privsep::MadeKeys& made);
  // For the device's record, when certify() is done.
  [[nodiscard]] const identity::Lineage& lineage() const { return lineage_; }

 private:
  NewIdentity(identity::Family family, const Uuid& device)
      : family_(std::move(family)), device_(device) {}
  // Adds the event to the log, and says what follows from it.
  Result<void> happen(const identity::Event& event, privsep::DeviceKind device_kind);

  identity::Family family_;
  Uuid device_;
  identity::Digest event_{};  // its digest
  identity::Descent descent_;
  std::uint64_t steps_ = 1;  // that the event takes GENERATION further
  identity::Lineage lineage_;
};

}  // namespace vtpm::device
