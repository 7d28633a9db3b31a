// SPDX-License-Identifier: Apache-2.0
#include "device/archive.h"

#include <fmt/format.h>

#include <utility>

namespace vtpm::device {

using store::Record;
using store::Store;

namespace {

// Does its state open? That of a device that left is another host's to open.
bool sound(Vault& vault, const Record& record) {
  return record.settings.role == store::Role::moved || vault.open(record);
}

}  // namespace

Result<std::vector<Store::Entry>> Archive::all() {
  std::vector<Store::Entry> entries;
  const auto keep = [&entries](Store::Entry& entry) { entries.push_back(std::move(entry)); };
  VTPM_CHECK(records_ ? for_each_entry(*records_, keep) : for_each_entry(*store_, keep));
  return entries;
}

// The run that an entry was written in, if it can be read and is vouched for.
Result<std::uint64_t> Archive::run_of(const Store::Entry& entry) const {
  if (!entry.record) return tl::unexpected<Error>(entry.record.error());
  return vault_->check_voucher(*entry.record);
}

Result<std::unique_ptr<Archive>> Archive::open_files(const ArchiveOptions& options,
                                                     std::unique_ptr<KeySource> source) {
  std::unique_ptr<Archive> archive(new Archive);
  archive->source_ = std::move(source);
  archive->lists_at_ = options.lists_at;
  archive->sign_outside_ = options.sign_outside;
  if (!options.anchor.empty()) {
    VTPM_TRY(archive->anchor_, Anchor::make(options.anchor));
  }
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
  if (!key && key.error().code == ErrorCode::not_found)
    return fail(ErrorCode::not_found,
                key.error().message + "; the store is under one, and no other opens it",
                "put the host key back from a backup, or name the place where it is kept with "
                "--host-key");
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

Result<void> Archive::write(const std::vector<Store::Revision>& revisions, Bytes note) {
  auto done = store_->revise(revisions, note);
  if (!done && done.error().code == ErrorCode::unknown_outcome) {
    VTPM_TRY(const Bytes there, store_->note());
    if (there == note) done = {};
  }
  if (done) note_ = std::move(note);
  return done;
}

Result<std::size_t> Archive::rekey(const store::HostKey& to) {
  VTPM_TRY(Note note, decode_note(note_, vault_->host_key()));
  std::vector<std::pair<const char*, Bytes*>> sealed{{kWithdrawalPurpose, &note.withdrawal_key},
                                                     {kExchangePurpose, &note.exchange_key},
                                                     {kAuthorityPurpose, &note.requested_key}};
  for (Note::Authority& authority : note.authorities)
    sealed.emplace_back(kAuthorityPurpose, &authority.key);
  for (const auto& [purpose, key] : sealed) {
    if (key->empty()) continue;
    VTPM_TRY(const SecretBytes plain, vault_->host_key().unseal(purpose, *key));
    VTPM_TRY(*key, to.seal(purpose, plain));
  }
  VTPM_TRY(const auto entries, all());
  const Vault after(to);
  std::vector<Store::Revision> revisions;
  for (const Store::Entry& entry : entries) {
    if (const auto run = run_of(entry); !run || *run != note.run)
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
  VTPM_CHECK(write(revisions, std::move(bytes)));
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
  if (!archive->empty_ && archive->note_.empty())
    return fail(ErrorCode::failed_precondition,
                "nothing vouches for the records of the store: an older vtpmd wrote them, or "
                "somebody changed the store",
                "if this is an upgrade and nobody else could write to " + options.state_dir +
                    ", run vtpmd once with its usual options and --accept-store");
  if (!archive->empty_) {
    VTPM_TRY(note, decode_note(archive->note_, archive->vault_->host_key()));
  }
  VTPM_CHECK(archive->begin_run(note));
  return archive;
}

Result<void> Archive::begin_run(Note note) {
  if (empty_ && anchor_) {
    if (anchor_->value())
      return fail(ErrorCode::failed_precondition,
                  "the store is empty, but the TPM of the host counts the runs of one",
                  "put the store back, or run vtpmd once with its usual options and "
                  "--accept-store to begin a new one");
    VTPM_TRY(note.run, anchor_->make_counter());
    note.anchored = true;
  } else if (!empty_) {
    VTPM_CHECK(check_anchor(note));
  }
  if (anchor_) {
    VTPM_CHECK(renew(note, note.run + 1));
    note.run++;
  } else if (empty_) {
    VTPM_CHECK(renew(note, note.run));
  }
  records_ = std::make_unique<Records>(*store_, *vault_, note.run);
  return {};
}

// The store is the one that the last run left, or of that run if it did not end by itself.
Result<void> Archive::check_anchor(const Note& note) {
  if (!anchor_ && !note.anchored) return {};
  const char* const on_purpose =
      "if you restored a backup on purpose, or want it so: run vtpmd once with its usual options "
      "and --accept-store";
  if (!anchor_)
    return fail(ErrorCode::failed_precondition,
                "a TPM of the host counts the runs of this store, and vtpmd was started without "
                "--anchor",
                on_purpose);
  if (!note.anchored)
    return fail(ErrorCode::failed_precondition,
                "no TPM has counted the runs of this store yet, or it is a copy from before",
                on_purpose);
  auto value = anchor_->value();
  if (!value && value.error().code == ErrorCode::not_found)
    return fail(ErrorCode::failed_precondition,
                "this TPM of the host has not counted the runs of the store: it is another one, or "
                "its owner was cleared",
                std::string("give vtpmd the TPM that counted; ") + on_purpose);
  VTPM_TRY(std::uint64_t count, std::move(value));
  // The store is written first, then the TPM counts: vtpmd died between the two.
  if (note.run == count + 1) {
    VTPM_TRY(count, anchor_->advance());
  }
  if (note.run != count)
    return fail(ErrorCode::failed_precondition,
                fmt::format("the store is an old copy: it is of run {}, the TPM of the host has "
                            "counted {}",
                            note.run, count),
                on_purpose);
  return {};
}

Result<void> Archive::renew(Note note, std::uint64_t run) {
  VTPM_TRY(const auto entries, all());
  std::vector<Store::Revision> revisions;
  for (const Store::Entry& entry : entries) {
    const auto written = run_of(entry);
    if (!written || *written != note.run) continue;  // stays what it is, and is refused
    VTPM_TRY(Bytes voucher, vault_->vouch(*entry.record, run));
    revisions.push_back({entry.record->uuid, entry.record->version, {}, std::move(voucher)});
  }
  note.run = run;
  VTPM_TRY(Bytes bytes, encode(note, vault_->host_key()));
  VTPM_CHECK(write(revisions, std::move(bytes)));
  if (!anchor_) return {};
  VTPM_TRY(const std::uint64_t count, anchor_->advance());
  if (count != run)
    return fail(ErrorCode::failed_precondition,
                fmt::format("the TPM of the host counts {} where run {} begins", count, run),
                "somebody else counts there: one vtpmd with an anchor for each TPM");
  return {};
}

Result<void> Archive::end_run() {
  if (!anchor_) return {};
  VTPM_TRY(const Note note, decode_note(note_, vault_->host_key()));
  return renew(note, note.run + 1);
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
  note.anchored = archive->anchor_.has_value();
  if (archive->anchor_) {
    auto count = archive->anchor_->value();
    if (!count && count.error().code == ErrorCode::not_found)
      count = archive->anchor_->make_counter();
    if (!count) return tl::unexpected<Error>(std::move(count).error());
    note.run = *count;
  }
  note.run++;  // whatever else there is of the store is old from here on
  VTPM_TRY(const auto entries, archive->all());
  Accepted accepted;
  std::vector<Store::Revision> revisions;
  for (const Store::Entry& entry : entries) {
    const bool vouched = archive->run_of(entry).has_value();
    const bool may_lack_one = upgrade && entry.record && entry.record->voucher.empty();
    if ((!vouched && !may_lack_one) || !sound(vault, *entry.record)) {
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
  VTPM_TRY(Bytes bytes, encode(note, vault.host_key()));
  VTPM_CHECK(archive->write(revisions, std::move(bytes)));
  if (archive->anchor_) VTPM_CHECK(archive->anchor_->advance());
  return accepted;
}

}  // namespace vtpm::device
