// SPDX-License-Identifier: Apache-2.0
// Worker: the life of one active vTPM in one process:
// channel -> policy -> engine -> commit (journal or store) -> reply.
#pragma once

#include "base/unique_fd.h"

namespace vtpm::worker {

// Takes Start (or Manufacture, MakeAhead: manufacture.h) from the manager's socket and serves until
// Stop, until the manager is gone, or until a newer engine has taken the device over. Returns the
// process's exit status (sysexits.h).
int run(UniqueFd manager);

}  // namespace vtpm::worker
