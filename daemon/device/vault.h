// SPDX-License-Identifier: Apache-2.0
// Vault: checkpoints in and out of the store, sealed, and vouchers of records made and checked. The
// only place that holds device keys.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/checkpoint.h"
#include "identity/lineage.h"
#include "store/sealing.h"
#include "store/store.h"

namespace vtpm::device {

// What an identity changes of a record beside its state.
struct Birth {
  std::uint8_t mode = 0;              // 0 = as it is
  SecretBytes lineage{};              // identity::Lineage, encoded; empty = as it is
  std::optional<store::Role> role{};  // nothing = as it is
};

class Vault {
 public:
  explicit Vault(store::HostKey host_key) : host_key_(std::move(host_key)) {}

  // The state in a record; nullopt if it has none.
  Result<std::optional<Checkpoint>> open(const store::Record& record);

  // What its identity comes from (identity/lineage.h, encoded); nullopt if the record does not say.
  Result<std::optional<SecretBytes>> open_lineage(const store::Record& record);
  // The same, decoded.
  Result<std::optional<identity::Lineage>> read_lineage(const store::Record& record);

  // What store::Store::commit_all needs to make `checkpoint` the next state of `record`.
  Result<store::Store::CommitRequest> prepare(const store::Record& record,
                                              const Checkpoint& checkpoint,
                                              const Birth& birth = {});
  // A new record that begins with this state, in generation 1 of that epoch.
  Result<store::Record> begin(const Uuid& uuid, const store::Settings& settings,
                              const Checkpoint& state, SecretBytes lineage,
                              std::uint64_t epoch = 0);
  // What a record keeps that has no state any more: its lineage, under a new key. forget() the old
  // one when the store has it.
  struct Remains {
    Bytes wrapped_key;
    Bytes lineage;
  };
  Result<Remains> retire(const Uuid& uuid, ByteView lineage);
  void forget(const Uuid& uuid) { keys_.erase(uuid); }

  // A voucher says that this manager wrote the whole record, its settings and version included, in
  // its run number `run`. Of the sealed state it holds the tag, so the last 16 bytes will do here.
  [[nodiscard]] Result<Bytes> vouch(const store::Record& record, std::uint64_t run) const;
  // The run that the record was written in. ErrorCode::corrupt: not by a holder of the host key.
  [[nodiscard]] Result<std::uint64_t> check_voucher(const store::Record& record) const;
  [[nodiscard]] const store::HostKey& host_key() const { return host_key_; }
  // The key of the record's device under another host key; empty if it has none.
  [[nodiscard]] Result<Bytes> rewrap(const store::Record& record, const store::HostKey& to) const;
  void change_host_key(store::HostKey to) { host_key_ = std::move(to); }

 private:
  Result<const SecretBytes*> key_of(const store::Record& record, Bytes& newly_wrapped);

  store::HostKey host_key_;
  std::map<Uuid, SecretBytes> keys_;
};

}  // namespace vtpm::device
