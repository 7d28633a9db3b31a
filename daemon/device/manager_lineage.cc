// SPDX-License-Identifier: Apache-2.0
// Where devices come from, for people and for verifiers. All of it is public.
#include <fmt/format.h>

#include <map>
#include <set>

#include "device/manager.h"
#include "identity/lineage.h"
#include "identity/pem.h"

namespace vtpm::device {
namespace {

// The certificate of a family, whichever of its hosts has the device.
const Bytes& founder(const identity::Lineage& lineage) {
  const Bytes* found = &lineage.family_certificate;
  for (const Bytes& above : lineage.above) {
    if (!identity::is_branch(*found)) break;
    found = &above;
  }
  return *found;
}

// Two keys of one kind are told apart by a number.
Result<std::vector<Manager::Descent::Certificate>> certificates_of(
    const identity::Lineage& lineage) {
  std::vector<Manager::Descent::Certificate> out;
  std::map<std::string, int> used;
  for (const Bytes& certificate : lineage.certificates) {
    std::string name = "iak";
    if (&certificate != &lineage.certificates.back()) {
      VTPM_TRY(const std::string kind, identity::key_name(certificate));
      name = "ek-" + kind;
    }
    if (const int before = used[name]++; before > 0) name += fmt::format("-{}", before + 1);
    VTPM_TRY(std::string pem, identity::to_pem(certificate));
    out.push_back({std::move(name), std::move(pem)});
  }
  return out;
}

}  // namespace

// From what certified the family up to the root.
Result<std::vector<Bytes>> Manager::above_family(const identity::Lineage& lineage) {
  if (!lineage.above.empty()) return lineage.above;
  VTPM_TRY(const auto authorities, archive_->authorities());
  for (const identity::Authority* const authority : authorities)
    if (authority->issued(lineage.family_certificate)) return authority->chain();
  return fail(ErrorCode::corrupt, "no authority of this host has certified the device's family");
}

Result<std::optional<identity::Lineage>> Manager::lineage_of(const Uuid& uuid) {
  VTPM_TRY(const store::Record record, archive_->records().get(uuid));
  return archive_->vault().read_lineage(record);
}

Result<Manager::Descent> Manager::descent_of(const Device& device) {
  VTPM_TRY(const auto lineage, lineage_of(device.uuid()));
  const bool has_identity = device.view().has_identity;
  if (!lineage)
    return fail(ErrorCode::failed_precondition,
                has_identity ? "the device got its identity from a vtpmd that kept no lineage"
                             : "the device has no identity yet",
                has_identity ? "a new device has one"
                             : "a read-write device gets one when it is started first");
  VTPM_TRY(const std::vector<Bytes> above, above_family(*lineage));
  Descent out;
  out.uuid = device.uuid();
  out.name = device.record().settings.name;
  VTPM_TRY(out.root, identity::to_pem(above.back()));
  VTPM_TRY(out.family, identity::to_pem(lineage->family_certificate));
  for (const Bytes& certificate : std::span(above).first(above.size() - 1)) {
    VTPM_TRY(const std::string pem, identity::to_pem(certificate));
    out.family += pem;
  }
  VTPM_TRY(out.certificates, certificates_of(*lineage));
  out.log = identity::to_text(lineage->log);
  // The family on this host: what its members' logs tell together, each event once.
  std::set<std::string> seen;
  for (const auto& [uuid, member] : devices_) {
    if (member->record().settings.role == store::Role::snapshot) continue;  // nobody of its own
    const auto other = lineage_of(uuid);
    if (!other || !*other || founder(**other) != founder(*lineage)) continue;
    out.members.push_back({uuid, member->record().settings.name});
    for (const identity::SignedEvent& entry : (*other)->log)
      if (std::string json = identity::to_json(entry.event); seen.insert(json).second)
        out.events.push_back(std::move(json));
  }
  return out;
}

}  // namespace vtpm::device
