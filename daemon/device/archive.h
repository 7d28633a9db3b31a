// SPDX-License-Identifier: Apache-2.0
// Archive: the store opened and found to be the one that vtpmd left, with the host key it is under.
//
// A store without a note but with records is one of a vtpmd that did not vouch for them, or one
// that somebody stripped of its vouchers: which of both nobody can tell, so a person has to say it
// (accept_store). Everything here is for the loop's thread, or for before it runs.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device/anchor.h"
#include "device/key_source.h"
#include "device/note.h"
#include "device/records.h"
#include "device/vault.h"
#include "identity/authority.h"
#include "identity/withdrawal.h"
#include "store/store.h"

namespace vtpm::device {

struct ArchiveOptions {
  std::string state_dir;
  std::string host_key;      // where the host key is, as in key_source.h
  std::string old_host_key;  // where it was: a store that is under it is put under the other
  std::string anchor;        // "tpm:TCTI"; empty = none, and old copies of the store go unseen
  std::string lists_at{};    // URL of the folder of revocation lists (identity/issuer.h)
  identity::SignOutside sign_outside{};  // with the key of an authority that the store has not
};

class Archive {
 public:
  static Result<std::unique_ptr<Archive>> open(const ArchiveOptions& options);
  static Result<std::unique_ptr<Archive>> open(const ArchiveOptions& options,
                                               std::unique_ptr<KeySource> source);

  // A new host key: every key of a device is wrapped anew, every voucher made anew, the old host
  // key destroyed. How many records there are. Killed at any point, the next open() goes on from
  // the old key or the new one. No commit may be under way.
  Result<std::size_t> rotate_host_key();

  // A person says that the store is the right one: vouches for every record that opens under the
  // host key. What does not is left as it is, and refused later. The names of both.
  struct Accepted {
    std::vector<std::string> taken;
    std::vector<std::string> refused;
  };
  static Result<Accepted> accept_store(const ArchiveOptions& options);

  // The certificate authority of the host, made when it is asked for first, unless one waits for
  // its certificate. It is in the store before anybody gets it, so what it signs never outlives
  // it. Lives until the next import_authority().
  Result<const identity::Authority*> authority();
  // All that it had, the one in use first; none is made.
  Result<std::vector<const identity::Authority*>> authorities();
  // The first one, as a person wants it. EXISTS if there is one.
  Result<void> make_authority(const identity::IssuerSubject& subject, std::uint32_t days);
  // A request (PEM) for a certificate of an authority; its key is in the store, and the same until
  // a certificate for it is imported.
  Result<std::string> request_authority(const identity::IssuerSubject& subject);
  [[nodiscard]] Result<bool> authority_is_requested() const;
  // Takes a new certificate for the key in use or, if that authority may be replaced, one for the
  // requested key; with what is above it, DER. INVALID_ARGUMENT: it cannot be used, and nothing has
  // changed.
  Result<void> import_authority(const std::vector<Bytes>& certificates, bool may_replace);
  // The same of an authority whose key is outside, as it is used from here on.
  Result<void> import_authority(const identity::Authority& outside, bool may_replace);

  // What the store is to keep of a device that goes, in the same transaction, so that revocation
  // lists name its certificates; none if it has none. Of one record at a time.
  Result<store::Withdrawn> withdraw(const store::Record& record);
  // All of them. CORRUPT: somebody added or took away one.
  Result<std::vector<identity::Withdrawal>> withdrawals();
  // The number of the next revocation lists, which are made of so many of them.
  Result<std::uint64_t> count_list(std::uint64_t withdrawals);

  // The private key of what other hosts seal to this one (identity/hpke.h), made at the first need.
  Result<SecretBytes> exchange_key();

  // The last write of this run. With an anchor, from here on no other copy of the store will do.
  Result<void> end_run();

  Records& records() { return *records_; }
  Vault& vault() { return *vault_; }

 private:
  Archive() = default;
  static Result<std::unique_ptr<Archive>> open_files(const ArchiveOptions& options,
                                                     std::unique_ptr<KeySource> source);
  Result<store::HostKey> find_key(const ArchiveOptions& options);
  Result<void> begin_run(Note note);
  Result<void> check_anchor(const Note& note);
  // Every good record and the note are of run `run` from here on; then the anchor says so.
  Result<void> renew(Note note, std::uint64_t run);
  Result<std::size_t> rekey(const store::HostKey& to);
  // Those of the note in place of what is known.
  Result<store::HostKey> withdrawal_key();
  [[nodiscard]] Result<identity::Authority> load_authority(const Note::Authority& noted) const;
  Result<void> load_authorities(const Note& note);
  Result<void> replace_authority(Note note, Note::Authority authority, bool may_replace);
  Result<void> renew_authority(Note& note, const std::vector<Bytes>& certificates);
  Result<void> write_note(const Note& note);
  // Both in one transaction; `note` is that of the store from here on.
  Result<void> write(const std::vector<store::Store::Revision>& revisions, Bytes note);
  Result<std::vector<store::Store::Entry>> all();
  [[nodiscard]] Result<std::uint64_t> run_of(const store::Store::Entry& entry) const;

  std::unique_ptr<KeySource> source_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<Vault> vault_;
  std::unique_ptr<Records> records_;
  std::optional<Anchor> anchor_;
  std::vector<identity::Authority> authorities_;  // as in the note, once somebody asked
  std::string lists_at_;
  identity::SignOutside sign_outside_;
  Bytes note_;
  bool empty_ = false;  // no record and no note: never used
};

}  // namespace vtpm::device
