// SPDX-License-Identifier: Apache-2.0
// Vault: checkpoints in and out of the store, sealed. The only place that holds device keys.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/checkpoint.h"
#include "store/sealing.h"
#include "store/store.h"

namespace vtpm::device {

class Vault {
 public:
  explicit Vault(store::HostKey host_key) : host_key_(std::move(host_key)) {}

  // The state in a record; nullopt if it has none.
  Result<std::optional<Checkpoint>> open(const store::Record& record);

  // What store::Store::commit_all needs to make `checkpoint` the next state of `record`.
  Result<store::Store::CommitRequest> prepare(const store::Record& record,
                                              const Checkpoint& checkpoint);
  void forget(const Uuid& uuid) { keys_.erase(uuid); }

 private:
  Result<const SecretBytes*> key_of(const store::Record& record, Bytes& newly_wrapped);

  store::HostKey host_key_;
  std::map<Uuid, SecretBytes> keys_;
};

}  // namespace vtpm::device
