// SPDX-License-Identifier: Apache-2.0
#include "device/new_identity.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "identity/attestation_key.h"
#include "identity/derived_seed.h"

namespace vtpm::device {

Result<NewIdentity> NewIdentity::found(identity::Family family, identity::EventKind kind,
                                       const Uuid& device, privsep::DeviceKind device_kind) {
  NewIdentity made(std::move(family), device);
  made.lineage_.family_key = made.family_.private_key();
  made.lineage_.family_certificate = made.family_.certificate();
  made.lineage_.authorization.resize(identity::kLineageAuthorization);
  VTPM_CHECK(fill_random(made.lineage_.authorization));
  identity::Event birth{.kind = kind, .device = device, .time = std::time(nullptr)};
  VTPM_CHECK(fill_random(birth.random));
  VTPM_CHECK(made.happen(birth, device_kind));
  return made;
}

Result<NewIdentity> NewIdentity::descend(identity::Lineage source, identity::EventKind kind,
                                         const Uuid& device, privsep::DeviceKind device_kind,
                                         std::uint64_t above) {
  VTPM_TRY(const identity::Standing before, identity::replay(source.log));
  if (source.log.empty()) return fail(ErrorCode::corrupt, "the source's log has no event");
  VTPM_TRY(identity::Family family,
           identity::Family::load(source.family_key, source.family_certificate));
  NewIdentity made(std::move(family), device);
  if (source.certificates.empty()) return fail(ErrorCode::corrupt, "the source has no certificate");
  VTPM_TRY(const identity::Digest parent, identity::sha256(source.certificates.back()));
  made.lineage_ = std::move(source);
  made.lineage_.certificates.clear();
  made.lineage_.seed_bytes.resize(identity::kSeedSize);
  VTPM_CHECK(fill_random(made.lineage_.seed_bytes));
  identity::Event event{.kind = kind,
                        .device = device,
                        .parent = made.lineage_.log.back().event.device,
                        .parent_lineage = before.lineage,
                        .generation = std::max(before.generation, above) + 1,
                        .time = std::time(nullptr)};
  made.steps_ = event.generation - before.generation;
  if (made.steps_ > privsep::kMaxSteps || event.generation > identity::kLastGeneration)
    return fail(ErrorCode::failed_precondition, "the generations of the device are used up",
                "make a new device");
  VTPM_CHECK(fill_random(event.random));
  VTPM_CHECK(made.happen(event, device_kind));
  made.descent_.parent = parent;
  return made;
}

Result<void> NewIdentity::happen(const identity::Event& event, privsep::DeviceKind device_kind) {
  VTPM_TRY(event_, identity::digest_of(event));
  VTPM_TRY(identity::SignedEvent entry, family_.sign(event));
  lineage_.log.push_back(std::move(entry));
  VTPM_TRY(const identity::Standing standing, identity::replay(lineage_.log));
  descent_ = {.lineage = standing.lineage,
              .generation = standing.generation,
              .kind = static_cast<std::uint8_t>(device_kind)};
  return {};
}

Result<privsep::Manufacture> NewIdentity::order(privsep::IdentityProfile profile) const {
  privsep::Manufacture order{
      .profile = profile, .authorization = lineage_.authorization, .event = event_, .policy = {}};
  order.steps = static_cast<std::uint32_t>(steps_);
  VTPM_TRY(order.policy, identity::attestation_policy(descent_.lineage, descent_.generation));
  if (lineage_.seed_bytes.empty()) return order;
  VTPM_TRY(order.endorsement_seed,
           identity::derive_endorsement_seed(lineage_.seed_bytes, descent_.lineage,
                                             descent_.generation, device_));
  return order;
}

Result<privsep::Certificates> NewIdentity::certify(const privsep::MadeKeys& made) {
  if (made.keys.size() < 2)
    return fail(ErrorCode::invalid_argument, "the worker shows too few keys");
  const identity::KeySubject subject{.device = device_,
                                     .manufacturer = made.manufacturer,
                                     .model = made.model,
                                     .firmware_version = made.firmware_version,
                                     .spec_level = made.spec_level,
                                     .spec_revision = made.spec_revision,
                                     .descent = descent_};
  // Up to the certificate of the family that is no branch.
  const auto last_of = [this](std::size_t i) {
    return ByteView(i == 0 ? family_.certificate() : lineage_.above[i - 1]);
  };
  privsep::Certificates out;
  for (std::size_t i = 0; i + 1 < made.keys.size(); i++) {
    VTPM_TRY(out.certificates.emplace_back(),
             family_.certify_endorsement_key(made.keys[i], subject));
  }
  VTPM_TRY(out.certificates.emplace_back(),
           family_.certify_attestation_key(made.keys.back(), subject));
  out.chain = family_.certificate();
  for (std::size_t i = 0; i < lineage_.above.size() && identity::is_branch(last_of(i)); i++)
    out.chain.insert(out.chain.end(), lineage_.above[i].begin(), lineage_.above[i].end());
  lineage_.certificates = out.certificates;
  return out;
}

}  // namespace vtpm::device
