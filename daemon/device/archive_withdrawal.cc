// SPDX-License-Identifier: Apache-2.0
// What the store keeps of devices that are gone, so that revocation lists can name them: rows that
// are numbered and under a MAC, written in the transaction that takes the device away. Nobody
// without the host key adds one; that one is missing shows, unless it is a last one that no list
// has ever named.
#include <ctime>
#include <utility>

#include "device/archive.h"
#include "identity/lineage.h"

namespace vtpm::device {
namespace {

constexpr const char* kPurpose = "withdrawal";

Result<store::Mac> mac_of(const store::HostKey& key, std::uint64_t number, ByteView content) {
  Bytes covered;
  Writer(covered).u64(number).bytes(content);
  return key.authenticate(kPurpose, covered);
}

tl::unexpected<Error> changed() {
  return fail(ErrorCode::corrupt, "somebody changed what the store keeps of devices that are gone",
              "restore the store from a backup");
}

}  // namespace

// A key of its own: with the host key's, all of them would have to be made anew at its rotation.
Result<store::HostKey> Archive::withdrawal_key() {
  const store::HostKey& host_key = vault_->host_key();
  VTPM_TRY(Note note, decode_note(note_, host_key));
  if (note.withdrawal_key.empty()) {
    VTPM_TRY(const store::HostKey made, store::HostKey::random());
    VTPM_TRY(note.withdrawal_key, host_key.seal(kWithdrawalPurpose, made.secret()));
    VTPM_CHECK(write_note(note));
  }
  VTPM_TRY(SecretBytes key, host_key.unseal(kWithdrawalPurpose, note.withdrawal_key));
  return store::HostKey::from_secret(std::move(key), "the note of the store");
}

Result<store::Withdrawn> Archive::withdraw(const store::Record& record) {
  using Reason = identity::Revoked::Reason;
  const bool retired = record.settings.role == store::Role::retired;
  if (record.settings.role != store::Role::device && !retired)
    return store::Withdrawn{};  // its certificates are another's
  VTPM_TRY(const auto lineage, vault_->read_lineage(record));
  if (!lineage) return store::Withdrawn{};
  VTPM_TRY(
      const identity::Withdrawal withdrawal,
      identity::withdraw(*lineage, retired ? Reason::superseded : Reason::cessation_of_operation,
                         std::time(nullptr)));
  VTPM_TRY(const store::HostKey key, withdrawal_key());
  VTPM_TRY(const std::uint64_t last, store_->last_withdrawn());
  store::Withdrawn row{.number = last + 1, .content = identity::encode(withdrawal)};
  VTPM_TRY(const store::Mac mac, mac_of(key, row.number, row.content));
  Writer(row.content).bytes(mac);
  return row;
}

Result<std::vector<identity::Withdrawal>> Archive::withdrawals() {
  VTPM_TRY(const auto rows, store_->withdrawn());
  VTPM_TRY(const store::HostKey key, withdrawal_key());
  VTPM_TRY(const Note note, decode_note(note_, vault_->host_key()));
  if (rows.size() < note.withdrawals) return changed();
  std::vector<identity::Withdrawal> all;
  for (const store::Withdrawn& row : rows) {
    constexpr std::size_t kMac = std::tuple_size_v<store::Mac>;
    if (row.number != all.size() + 1 || row.content.size() < kMac) return changed();
    const ByteView content = ByteView(row.content).first(row.content.size() - kMac);
    VTPM_TRY(const store::Mac mac, mac_of(key, row.number, content));
    if (!equal_constant_time(ByteView(row.content).last(kMac), mac)) return changed();
    VTPM_TRY(identity::Withdrawal withdrawal, identity::decode_withdrawal(content));
    all.push_back(std::move(withdrawal));
  }
  return all;
}

Result<std::uint64_t> Archive::count_list(std::uint64_t withdrawals) {
  VTPM_TRY(Note note, decode_note(note_, vault_->host_key()));
  note.lists++;
  note.withdrawals = withdrawals;
  VTPM_CHECK(write_note(note));
  return note.lists;
}

}  // namespace vtpm::device
