// SPDX-License-Identifier: Apache-2.0
// Committer: turns the commits that workers asked for in one round of the loop into one durable
// transaction. A slow disk is waited for once, not once a device.
#pragma once

#include <functional>
#include <vector>

#include "device/records.h"
#include "device/vault.h"

namespace vtpm::device {

class Committer {
 public:
  Committer(Records& records, Vault& vault) : records_(records), vault_(vault) {}

  using Done = std::function<void(Result<store::Version>, Bytes wrapped_key)>;
  // `record` as the caller knows it now; `done` is called from flush(). At most one open commit a
  // device: its worker waits for the answer.
  void add(const store::Record& record, const Checkpoint& checkpoint, Done done,
           const Birth& birth = {});
  void flush();

 private:
  Records& records_;
  Vault& vault_;
  std::vector<store::Store::CommitRequest> requests_;
  std::vector<Done> callbacks_;
};

}  // namespace vtpm::device
