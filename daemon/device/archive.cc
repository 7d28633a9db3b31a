// SPDX-License-Identifier: Apache-2.0
#include "device/archive.h"

#include <utility>

namespace vtpm::device {

using store::Record;
using store::Store;

Result<std::vector<Store::Entry>> Archive::all() {
  std::vector<Store::Entry> entries;
  std::string after;
  for (;;) {
    VTPM_TRY(auto page, store_->list(after, 500));
    if (page.empty()) return entries;
    after = page.back().name;
    for (Store::Entry& entry : page) entries.push_back(std::move(entry));
  }
}

Result<std::unique_ptr<Archive>> Archive::open_files(const ArchiveOptions& options) {
  std::unique_ptr<Archive> archive(new Archive);
  VTPM_TRY(archive->store_, store::open_sqlite(options.state_dir + "/store.db"));
  VTPM_TRY(archive->note_, archive->store_->note());
  VTPM_TRY(const auto any, archive->store_->list("", 1));
  archive->empty_ = archive->note_.empty() && any.empty();
  // A new key beside states that another key has sealed would open none of them.
  const std::string path =
      options.host_key.empty() ? options.state_dir + "/host.key" : options.host_key;
  VTPM_TRY(auto host_key, store::HostKey::from_file(path, archive->empty_));
  archive->vault_ = std::make_unique<Vault>(std::move(host_key));
  return archive;
}

Result<std::unique_ptr<Archive>> Archive::open(const ArchiveOptions& options) {
  VTPM_TRY(auto archive, open_files(options));
  Note note;
  if (archive->empty_) {
    VTPM_TRY(const Bytes bytes, encode(note, archive->vault_->host_key()));
    VTPM_CHECK(archive->store_->revise({}, bytes));
  } else if (archive->note_.empty()) {
    return fail(ErrorCode::failed_precondition,
                "nothing vouches for the records of the store: an older vtpmd wrote them, or "
                "somebody changed the store",
                "if this is an upgrade and nobody else could write to " + options.state_dir +
                    ", run vtpmd once with its usual options and --accept-store");
  } else {
    VTPM_TRY(note, decode_note(archive->note_, archive->vault_->host_key()));
  }
  archive->records_ = std::make_unique<Records>(*archive->store_, *archive->vault_, note.run);
  return archive;
}

Result<Archive::Accepted> Archive::accept_store(const ArchiveOptions& options) {
  VTPM_TRY(auto archive, open_files(options));
  Vault& vault = *archive->vault_;
  const bool upgrade = archive->note_.empty();
  Note note;
  if (!upgrade) {
    VTPM_TRY(note, decode_note(archive->note_, vault.host_key()));
  }
  VTPM_TRY(const auto entries, archive->all());
  Accepted accepted;
  std::vector<Store::Revision> revisions;
  for (const Store::Entry& entry : entries) {
    const bool vouched = entry.record && vault.check_voucher(*entry.record);
    const bool may_lack_one = upgrade && entry.record && entry.record->voucher.empty();
    if ((!vouched && !may_lack_one) || !vault.open(*entry.record)) {
      accepted.refused.push_back(entry.name);
      continue;
    }
    const Record& record = *entry.record;
    VTPM_TRY(Bytes voucher, vault.vouch(record, note.run));
    revisions.push_back({record.uuid, record.version, {}, std::move(voucher)});
    accepted.taken.push_back(entry.name);
  }
  if (accepted.taken.empty() && !accepted.refused.empty())
    return fail(ErrorCode::corrupt, "no record of the store opens under this host key",
                "give vtpmd the host key that belongs to the store");
  VTPM_TRY(const Bytes bytes, encode(note, vault.host_key()));
  VTPM_CHECK(archive->store_->revise(revisions, bytes));
  return accepted;
}

}  // namespace vtpm::device
