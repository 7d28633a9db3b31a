// SPDX-License-Identifier: Apache-2.0
// What the fork server knows: who listens, who manages, and the workers. It is all that has to
// survive when the server executes itself anew.
#pragma once

#include <sys/types.h>

#include <map>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "base/uuid.h"

namespace vtpm::privsep {

struct ServedWorker {
  Uuid device;
  std::uint64_t incarnation = 0;
  bool dead = false;  // and no manager has been told yet
  int wait_status = 0;
  UniqueFd pidfd;
  // The manager's end of its socket, which nobody reads here, and what belongs to its node: kept so
  // that neither the worker nor a client sees the death of a manager.
  std::vector<UniqueFd> for_manager;
};

struct ServerState {
  UniqueFd listener;
  UniqueFd manager;  // invalid: none is connected
  pid_t manager_pid = 0;
  std::map<pid_t, ServedWorker> workers;
};

// Writes the table to memory and lets its descriptors pass through exec(). Returns the number of
// the descriptor from which restore_state() reads it in the same process.
Result<int> save_state(const ServerState& state);
Result<ServerState> restore_state(int number);

}  // namespace vtpm::privsep
