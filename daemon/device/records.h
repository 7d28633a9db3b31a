// SPDX-License-Identifier: Apache-2.0
// Records: the store as devices use it. Every write carries a voucher for the record as it is after
// it; every read checks it. Who writes into the store's file changes no setting unseen.
//
// It remembers the voucher of each record it has seen, so a record that is put back to an earlier
// time while vtpmd runs is refused too. Lives on the loop's thread.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "device/vault.h"
#include "store/store.h"

namespace vtpm::device {

class Records {
 public:
  // `run` is the number of this run of vtpmd; records of another one are refused (archive.h).
  Records(store::Store& store, const Vault& vault, std::uint64_t run)
      : store_(store), vault_(vault), run_(run) {}

  // As those of store::Store. A record that cannot be vouched for is ErrorCode::corrupt.
  Result<void> create(store::Record record);
  Result<store::Record> get(const Uuid& uuid);
  Result<std::vector<store::Store::Entry>> list(const std::string& after, std::size_t limit);
  Result<store::Version> acquire(const Uuid& uuid, const store::Version& expected,
                                 const std::string& new_owner);
  // At most one request a device.
  std::vector<Result<store::Version>> commit_all(std::vector<store::Store::CommitRequest> requests);
  Result<void> set_powered(const Uuid& uuid, const store::Version& expected, bool powered);
  Result<void> set_failure(const Uuid& uuid, const store::Version& expected,
                           const std::string& reason);
  // Of `settings` what store::Store::set_settings() takes.
  Result<void> set_settings(const Uuid& uuid, const store::Version& expected,
                            const store::Settings& settings);
  // Vouchers are made here.
  Result<void> succeed(store::Store::Succession succession);
  Result<void> remove(const Uuid& uuid, const store::Version& expected,
                      const store::Withdrawn& withdrawn);
  Result<void> discard(const Uuid& uuid);
  // Everything was written anew behind this: reads all of it again.
  Result<void> relearn();
  [[nodiscard]] std::string description() const { return store_.description(); }

 private:
  Result<void> check(const store::Record& record);
  Result<store::Record> known(const Uuid& uuid);
  void learn(store::Record record);
  template <class T>
  Result<T> learn_if_done(store::Record record, Result<T> done);

  store::Store& store_;
  const Vault& vault_;
  std::uint64_t run_;
  // What the store has, as far as is known: of the state the tag alone.
  std::map<Uuid, store::Record> known_;
};

// Every entry of `source`, Records or a store::Store, page by page.
template <class Source, class Visit>
Result<void> for_each_entry(Source& source, Visit visit) {
  constexpr std::size_t kPage = 500;
  std::string after;
  for (;;) {
    VTPM_TRY(auto page, source.list(after, kPage));
    if (page.empty()) return {};
    after = page.back().name;
    for (store::Store::Entry& entry : page) visit(entry);
  }
}

}  // namespace vtpm::device
