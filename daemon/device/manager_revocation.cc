// SPDX-License-Identifier: Apache-2.0
// Revocation lists: what is gone, in the lists of those who certified it.
//
// The loop collects keys and what was withdrawn; the caller's thread signs.
#include <algorithm>
#include <map>
#include <utility>

#include "device/manager.h"
#include "device/manager_on_loop.h"
#include "identity/revocation_list.h"

namespace vtpm::device {
namespace {

using identity::Revoked;

struct Signer {
  SecretBytes key;  // empty: it is outside, and `sign` is asked
  Bytes certificate;
  std::vector<Revoked> revoked{};
  identity::SignOutside sign{};
  bool may_be_gone = false;  // of an authority that is not in use any more
  [[nodiscard]] Result<identity::Issuer> issuer() const {
    return key.empty() ? identity::Issuer::outside(certificate, sign)
                       : identity::Issuer::load(key, certificate);
  }
};

void enter(Signer& signer, Revoked revoked) {
  const bool known = std::ranges::any_of(
      signer.revoked, [&](const Revoked& other) { return other.serial == revoked.serial; });
  if (!known) signer.revoked.push_back(std::move(revoked));
}

}  // namespace

// Who can sign a list on this host, by key identifier, and all that was withdrawn.
struct Manager::Revocations {
  std::map<Bytes, Signer> signers;
  std::vector<identity::Withdrawal> withdrawn;
  std::vector<Bytes> wanted;  // key identifiers; none: all
  std::uint64_t number = 0;
};

Result<Manager::Revocations> Manager::collect_revocations(const std::string& name) {
  Revocations out;
  VTPM_TRY(const auto authorities, archive_->authorities());
  for (const identity::Authority* const authority : authorities) {
    VTPM_TRY(Bytes id, identity::key_id_of(authority->chain().front()));
    out.signers.try_emplace(std::move(id), Signer{.key = authority->private_key(),
                                                  .certificate = authority->chain().front(),
                                                  .sign = sign_outside(),
                                                  .may_be_gone = authority->key_is_outside() &&
                                                                 authority != authorities.front()});
  }
  std::optional<Uuid> only;
  if (!name.empty()) {
    VTPM_TRY(const Device* const device, find(name));
    only = device->uuid();
  }
  VTPM_TRY(out.withdrawn, archive_->withdrawals());
  VTPM_TRY(out.number, archive_->count_list(out.withdrawn.size()));
  std::map<Uuid, identity::Lineage> retired;
  std::map<Uuid, std::int64_t> replaced;
  for (const auto& [uuid, device] : devices_) {
    VTPM_TRY(auto lineage, lineage_of(uuid));
    if (!lineage) continue;
    VTPM_TRY(const Bytes id, identity::key_id_of(lineage->family_certificate));
    if (!out.signers.contains(id))
      out.signers[id] = {.key = lineage->family_key, .certificate = lineage->family_certificate};
    if (uuid == only) {
      VTPM_TRY(const auto above, identity::id_of(lineage->family_certificate));
      out.wanted = {id, above.issuer_key};
    }
    for (const auto& [event, signature] : lineage->log)
      if (event.kind == identity::EventKind::rollback && event.parent)
        replaced[*event.parent] = event.time;
    if (device->record().settings.role == store::Role::retired)
      retired.emplace(uuid, *std::move(lineage));
  }
  if (only && out.wanted.empty())
    return fail(ErrorCode::failed_precondition, "the device has no certificates");
  // What another device has replaced is still there, so the store keeps nothing else of it.
  for (const auto& [uuid, lineage] : retired) {
    const auto when = replaced.find(uuid);
    VTPM_TRY(
        out.withdrawn.emplace_back(),
        identity::withdraw(lineage, Revoked::Reason::superseded,
                           when != replaced.end() ? when->second : lineage.log.back().event.time));
  }
  return out;
}

Result<Manager::Lists> Manager::revocation_lists(const std::string& device, std::uint32_t days) {
  VTPM_TRY(Revocations all,
           on_loop<Revocations>([this, device](auto done) { done(collect_revocations(device)); }));
  Lists lists{.number = all.number, .elsewhere = 0, .lists = {}};
  const auto revoke = [&](const identity::CertificateId& id, const identity::Withdrawal& gone) {
    const auto signer = all.signers.find(id.issuer_key);
    if (signer == all.signers.end())
      lists.elsewhere++;
    else
      enter(signer->second, {.serial = id.serial, .since = gone.time, .reason = gone.reason});
  };
  for (const identity::Withdrawal& gone : all.withdrawn) {
    // Its key went with the last member: nobody is left whom that could be wrong for.
    if (!all.signers.contains(gone.family_key)) {
      revoke(gone.family, gone);
      continue;
    }
    for (const identity::CertificateId& id : gone.certificates) revoke(id, gone);
  }
  for (auto& [id, signer] : all.signers) {
    if (!all.wanted.empty() && std::ranges::find(all.wanted, id) == all.wanted.end()) continue;
    VTPM_TRY(const identity::Issuer issuer, signer.issuer());
    const std::size_t entries = signer.revoked.size();
    auto der = identity::issue(
        issuer, {.number = all.number, .days = days, .revoked = std::move(signer.revoked)});
    if (!der && signer.may_be_gone) {  // the log says so
      lists.elsewhere += entries;
      continue;
    }
    if (!der) return tl::unexpected<Error>(std::move(der).error());
    lists.lists.push_back({id, *std::move(der), entries});
  }
  return lists;
}

}  // namespace vtpm::device
