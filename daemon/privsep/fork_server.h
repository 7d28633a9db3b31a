// SPDX-License-Identifier: Apache-2.0
// The fork server: one warm process that forks the workers.
//
// vtpm-engine runs it. libtpms is loaded and self-tested once, so that a worker costs a fork and
// not an exec, and shares those pages. Children share its address layout too, so a worker that
// crashes makes the server exec itself anew: a crash teaches nothing about the next worker.
// The server knows no device and holds no secret. Its workers are confined, see sandbox.h; it needs
// what it takes away from them, so it is not itself.
#pragma once

#include <sys/types.h>

#include <functional>

#include "base/result.h"
#include "base/unique_fd.h"
#include "base/uuid.h"
#include "privsep/messages.h"

namespace vtpm::privsep {

struct ForkServerHooks {
  std::function<Result<void>()> warm_up;    // before the first fork
  std::function<int(UniqueFd)> run_worker;  // in the child; its return is the exit status
};
// Runs until the manager closes `control`. `argv` is what the process was started with, for exec.
int run_fork_server(UniqueFd control, const ForkServerHooks& hooks, char** argv);

// The manager's side.
struct ForkServerProcess {
  UniqueFd control;  // ForkRequest out; Forked and Died in
  UniqueFd pidfd;
  pid_t pid = 0;
};
// Starts `engine_path` (vtpm-engine) with a control socket as descriptor 3.
Result<ForkServerProcess> spawn_fork_server(const std::string& engine_path);

// In a worker, before it touches a frame: no core dumps, not dumpable (nobody but root reads
// /proc/PID/mem), no new privileges. A part of leave_host(), and for who runs a worker without.
Result<void> harden_worker();

}  // namespace vtpm::privsep
