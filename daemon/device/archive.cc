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
    VTPM_TRY(auto page, records_ ? records_->list(after, 500) : store_->list(after, 500));
    if (page.empty()) return entries;
    after = page.back().name;
    for (Store::Entry& entry : page) entries.push_back(std::move(entry));
  }
}

Result<std::unique_ptr<Archive>> Archive::open_files(const ArchiveOptions& options,
                                                     std::unique_ptr<KeySource> source) {
  std::unique_ptr<Archive> archive(new Archive);
  archive->source_ = std::move(source);
  VTPM_TRY(archive->store_, store::open_sqlite(options.state_dir + "/store.db"));
  VTPM_TRY(archive->note_, archive->store_->note());
  VTPM_TRY(const auto any, archive->store_->list("", 1));
  archive->empty_ = archive->note_.empty() && any.empty();
  VTPM_TRY(auto key, archive->find_key(options));
  archive->vault_ = std::make_unique<Vault>(std::move(key));
  return archive;
}

// The key that the store is under: a rotation may have been cut off between any two steps. If it is
// none of them, the caller finds out by the note.
Result<store::HostKey> Archive::find_key(const ArchiveOptions& options) {
  auto key = source_->load();
  // Only where no other key has sealed anything, or that other one is named: a new key beside
  // states that an unknown one has sealed would open none of them.
  const bool may_make = empty_ || !options.old_host_key.empty();
  if (!key && key.error().code == ErrorCode::not_found && may_make) {
    key = source_->make_next();
    if (key) VTPM_CHECK(source_->promote());
  }
  if (!key) return key;
  if (note_.empty() || decode_note(note_, *key)) {
    VTPM_CHECK(source_->drop_next());
    return key;
  }
  if (auto next = source_->load_next(); next && decode_note(note_, *next)) {
    VTPM_CHECK(source_->promote());
    return next;
  }
  if (options.old_host_key.empty()) return key;
  VTPM_TRY(const auto old_source, KeySource::make(options.old_host_key, options.state_dir));
  VTPM_TRY(auto old_key, old_source->load());
  if (!decode_note(note_, old_key)) return key;
  vault_ = std::make_unique<Vault>(std::move(old_key));
  VTPM_CHECK(rekey(*key));
  return key;
}

Result<std::size_t> Archive::rekey(const store::HostKey& to) {
  VTPM_TRY(const Note note, decode_note(note_, vault_->host_key()));
  VTPM_TRY(const auto entries, all());
  const Vault after(to);
  std::vector<Store::Revision> revisions;
  for (const Store::Entry& entry : entries) {
    const auto run = entry.record ? vault_->check_voucher(*entry.record)
                                  : tl::unexpected<Error>(entry.record.error());
    if (!run || *run != note.run)
      return fail(ErrorCode::failed_precondition,
                  "the record of " + entry.name +
                      " cannot be used, and could never be mended under another host key",
                  "restore the store from a backup, or delete that device, first");
    Record record = *entry.record;
    VTPM_TRY(record.wrapped_key, vault_->rewrap(record, to));
    VTPM_TRY(Bytes voucher, after.vouch(record, note.run));
    revisions.push_back(
        {record.uuid, record.version, std::move(record.wrapped_key), std::move(voucher)});
  }
  VTPM_TRY(Bytes bytes, encode(note, to));
  auto done = store_->revise(revisions, bytes);
  if (!done && done.error().code == ErrorCode::unknown_outcome) {
    VTPM_TRY(const Bytes there, store_->note());
    if (there == bytes) done = {};
  }
  if (!done) return tl::unexpected<Error>(std::move(done).error());
  note_ = std::move(bytes);
  return revisions.size();
}

Result<std::size_t> Archive::rotate_host_key() {
  VTPM_TRY(const store::HostKey next, source_->make_next());
  auto count = rekey(next);
  if (!count) {
    // Certainly not applied; else the next start decides by the note.
    if (count.error().code != ErrorCode::unknown_outcome) (void)source_->drop_next();
    return count;
  }
  vault_->change_host_key(next);
  VTPM_CHECK(records_->relearn());
  VTPM_CHECK(source_->promote());
  return count;
}

Result<std::unique_ptr<Archive>> Archive::open(const ArchiveOptions& options) {
  VTPM_TRY(auto source, KeySource::make(options.host_key, options.state_dir));
  return open(options, std::move(source));
}

Result<std::unique_ptr<Archive>> Archive::open(const ArchiveOptions& options,
                                               std::unique_ptr<KeySource> source) {
  VTPM_TRY(auto archive, open_files(options, std::move(source)));
  Note note;
  if (archive->empty_) {
    VTPM_TRY(archive->note_, encode(note, archive->vault_->host_key()));
    VTPM_CHECK(archive->store_->revise({}, archive->note_));
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
  VTPM_TRY(auto source, KeySource::make(options.host_key, options.state_dir));
  VTPM_TRY(auto archive, open_files(options, std::move(source)));
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
