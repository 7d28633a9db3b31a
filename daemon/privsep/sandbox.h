// SPDX-License-Identifier: Apache-2.0
// The sandbox of a worker: what is left to libtpms if a client takes it over.
//
// It is entered in steps, because a worker must first receive and map what it works with:
//
//   fork server   prepare_sandbox()  once: namespaces without network, an empty root to hand out
//                 prepare_filters()  once: the filters of system calls, compiled
//                 confine_fork_server()  once, and its workers inherit it: the system calls of both
//   worker        leave_host()       right after the fork, before it reads a byte of anybody:
//                                    uid of its own, no capabilities, no file system, limits
//   worker        enter_sandbox()    when the manager's first message is read and the journal is
//                                    mapped, before libtpms reads the state to resume from: the
//                                    system calls that serving needs, and no others
//
// What the system does not permit of preparing and leaving (the fork server is not root, or its
// unit has fewer capabilities than ours) is left out and told in one log line. The filters fail
// closed.
//
// Not here: a namespace of PIDs (the first worker in it would be the init of all others; no call is
// left that takes another's PID), namespaces of host name and cgroups (names that no call is left
// to ask for), and a limit of processor time (a worker lives as long as its device; their unit
// shares out the processor).
//
// Single-threaded callers only. Sources: credentials(7), capabilities(7), mount_namespaces(7),
// seccomp(2), prctl(2).
#pragma once

#include <sys/types.h>

#include "base/result.h"
#include "base/unique_fd.h"
#include "privsep/messages.h"

namespace vtpm::privsep {

// The uid and gid of a worker: this plus its PID, so that no two living ones share one, whatever
// happens to the fork server. Lies in what systemd leaves unassigned (UIDS-GIDS: 1879048192 to
// 2147352575); PIDs end below 2^22.
inline constexpr uid_t kFirstWorkerId = 2'000'000'000;

// Address space of a worker, in bytes. One starts with 23 MiB, most of it code. A worker that gets
// no more memory ends, and another one goes on from the last checkpoint.
inline constexpr std::size_t kWorkerAddressSpace = std::size_t{64} << 20;
// How nice a worker is. All of them share the unit of the fork server: however many are busy, that
// one gets to the processor before them.
inline constexpr int kWorkerNice = 5;
inline constexpr int kIdleNice = 19;  // of one that nobody waits for
// What the kernel adds to a worker's badness when the host has no memory left: a worker is replaced
// without a loss, vtpmd and most else is not.
inline constexpr int kWorkerOomScore = 500;
// Descriptors: standard ones, manager, listeners, two clients, and what a client passes.
inline constexpr std::size_t kWorkerDescriptors = 64;

// What a sanitizer needs (terabytes of shadow memory, /proc, calls of its own) is more than
// the sandbox leaves: such a build has no empty root, no limit of address space and no filter.
#ifdef VTPM_SANITIZE
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// What the fork server prepares for all workers. The workers share it: it is empty.
struct Confinement {
  UniqueFd empty_root;  // a mount namespace of one read-only, empty tmpfs; invalid: not permitted
};
Confinement prepare_sandbox();
// From here on, a system call that neither the fork server nor a worker needs kills the process. It
// holds for whatever the process forks and becomes.
Result<void> confine_fork_server();

// Keeps descriptors 0 to 2 and `keep`, closes all others. `parent`: who forked; the worker is
// killed when it dies, and the call fails if it is dead.
Result<void> leave_host(const Confinement& confinement, int keep, pid_t parent);

// For a worker that nobody waits for: whoever else has work on this processor gets to it first.
void yield_to_others();

// Makes enter_sandbox() cheap in what is forked afterwards, and confine_fork_server() cheap: it
// compiles the filters.
Result<void> prepare_filters();
// From here on, a system call that `node` does not need kills the process with SIGSYS.
Result<void> enter_sandbox(NodeKind node);

}  // namespace vtpm::privsep
