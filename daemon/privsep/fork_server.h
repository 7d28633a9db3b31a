// SPDX-License-Identifier: Apache-2.0
// The fork server: one warm process that forks the workers, and outlives the manager (vtpmd).
//
// vtpm-engine runs it. libtpms is loaded and self-tested once, so that a worker costs a fork and
// not an exec, and shares those pages. Children share its address layout too, so a worker that
// crashes makes the server exec itself anew: a crash teaches nothing about the next worker.
//
// Managers come and go by its socket (rendezvous.h), one at a time; when one dies, the workers go
// on and the next one inherits them. The server reads nothing but a manager's few bytes
// (fork_messages.h) and handles no state of a device. Its workers are confined, see sandbox.h; it
// needs what it takes away from them, so it is not itself. It opens /dev/vtpm for the manager, who
// has no such right.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "privsep/fork_server_options.h"

namespace vtpm::privsep {

struct ForkServerHooks {
  std::function<Result<void>()> warm_up;    // before the first fork
  std::function<int(UniqueFd)> run_worker;  // in the child; its return is the exit status
  std::string release;                      // what Welcome says
  bool filtered = true;                     // false: a test's workers do what no worker does
};
// Runs until SIGTERM, SIGINT or a manager's End, and takes every worker along. `argv` is what the
// process was started with, for exec.
int run_fork_server(const ForkServerOptions& options, const ForkServerHooks& hooks, char** argv);

// In a worker, before it touches a frame: no core dumps, not dumpable (nobody but root reads
// /proc/PID/mem), no new privileges. A part of leave_host(), and for who runs a worker without.
Result<void> harden_worker();

}  // namespace vtpm::privsep
