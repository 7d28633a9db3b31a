// SPDX-License-Identifier: Apache-2.0
// The system calls of the fork server. It is wider than that of a worker (syscall_filter.cc), which
// comes on top of it: the filter stays with the process when that execs itself anew, so what the
// dynamic linker and the preparation of a sandbox need is in it, and what a worker gives up its
// rights by. Paths cannot be looked at by a filter; flags, commands and users can.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <initializer_list>

#include "privsep/sandbox.h"
#include "privsep/syscall_rules.h"

namespace vtpm::privsep {
namespace {

// Managers and workers come and go. There is no socket() and no connect(): nobody is called.
void allow_service(SyscallRules& rules) {
  rules.allow(SCMP_SYS(read));  // of the signalfd, and of files, below
  rules.allow(SCMP_SYS(write));
  rules.allow(SCMP_SYS(setsockopt), is(1, SOL_SOCKET), is(2, SO_SNDTIMEO));
  rules.allow(SCMP_SYS(wait4));
  rules.allow(SCMP_SYS(pidfd_open));
  rules.allow(SCMP_SYS(pidfd_send_signal), is(1, SIGKILL));
  rules.allow(SCMP_SYS(kill), is(1, SIGKILL));
  // fork(): neither a thread nor a namespace, which clone() could make too.
  rules.allow(SCMP_SYS(clone),
              has_not(0, CLONE_VM | CLONE_PARENT | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS |
                             CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET));
  rules.refuse(SCMP_SYS(clone3), ENOSYS);  // its flags are in memory; glibc goes on with clone()
  rules.allow(SCMP_SYS(unlink));           // of its socket, at the end
  rules.allow(SCMP_SYS(unlinkat), is(2, 0));
  rules.allow(SCMP_SYS(exit_group));
  rules.allow(SCMP_SYS(tgkill), is(2, SIGABRT));  // abort()
  for (const int call : {SCMP_SYS(gettid), SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid),
                         SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(rt_sigprocmask)})
    rules.allow(call);
}

// It makes no file: what it opens is there.
void allow_files(SyscallRules& rules) {
  rules.allow(SCMP_SYS(openat), has_not(2, O_CREAT | (O_TMPFILE & ~O_DIRECTORY)));
  for (const int call :
       {SCMP_SYS(newfstatat), SCMP_SYS(fstat), SCMP_SYS(pread64), SCMP_SYS(access),
        SCMP_SYS(faccessat), SCMP_SYS(dup2), SCMP_SYS(dup3), SCMP_SYS(memfd_create)})
    rules.allow(call);
  for (const int command : {F_GETFD, F_SETFD, F_DUPFD_CLOEXEC})
    rules.allow(SCMP_SYS(fcntl), is(1, static_cast<std::uint64_t>(command)));
}

// From execve() to main(): a program is mapped, and no memory is both written and executed.
void allow_exec(SyscallRules& rules) {
  rules.allow(SCMP_SYS(execve));
  rules.allow(SCMP_SYS(mmap), has_not(2, PROT_EXEC));
  rules.allow(SCMP_SYS(mmap), has_not(2, PROT_WRITE));
  for (const int call : {SCMP_SYS(arch_prctl), SCMP_SYS(set_tid_address), SCMP_SYS(set_robust_list),
                         SCMP_SYS(rseq), SCMP_SYS(signalfd4), SCMP_SYS(pipe2)})
    rules.allow(call);
  // What newer C libraries may try before they do with the above.
  for (const int call : {SCMP_SYS(statx), SCMP_SYS(openat2), SCMP_SYS(faccessat2)})
    rules.refuse(call, ENOSYS);
}

// sandbox.cc, in its order: the namespaces and the root of all workers, then what each gives up.
void allow_confining(SyscallRules& rules) {
  rules.allow(SCMP_SYS(unshare),
              has_not(0, ~static_cast<std::uint64_t>(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC)));
  rules.allow(SCMP_SYS(socketpair), is(0, AF_UNIX));
  for (const std::uint64_t flags : std::initializer_list<std::uint64_t>{
           MS_REC | MS_PRIVATE, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, MS_MOVE})
    rules.allow(SCMP_SYS(mount), is(3, flags));
  rules.allow(SCMP_SYS(umount2), is(1, MNT_DETACH));
  for (const int call : {SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(chdir)})
    rules.allow(call);

  rules.allow(SCMP_SYS(mlockall));
  rules.allow(SCMP_SYS(setpriority), is(0, PRIO_PROCESS), is(1, 0));
  rules.allow(SCMP_SYS(setns), is(1, CLONE_NEWNS));
  rules.allow(SCMP_SYS(close_range));
  for (const int option : {PR_SET_NAME, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_CAP_AMBIENT,
                           PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG})
    rules.allow(SCMP_SYS(prctl), is(0, static_cast<std::uint64_t>(option)));
  // No user but one of a worker.
  rules.allow(SCMP_SYS(setgroups), is(0, 0));
  for (const int call : {SCMP_SYS(setresgid), SCMP_SYS(setresuid)})
    rules.allow(call, at_least(0, kFirstWorkerId), at_least(1, kFirstWorkerId),
                at_least(2, kFirstWorkerId));
  rules.allow(SCMP_SYS(capset));
  rules.allow(SCMP_SYS(prlimit64), is(0, 0));
  rules.allow(SCMP_SYS(seccomp));
}

Result<FilterProgram> compile() {
  SyscallRules rules;
  allow_serving(rules, NodeKind::kernel);
  allow_serving(rules, NodeKind::socket);
  allow_service(rules);
  allow_files(rules);
  allow_exec(rules);
  allow_confining(rules);
  rules.is_frequent(SCMP_SYS(ioctl));
  return rules.compile();
}

}  // namespace

const Result<FilterProgram>& server_program() {
  static const Result<FilterProgram> program = compile();
  return program;
}

Result<void> confine_fork_server() {
  if (kSanitized) return {};
  const auto& program = server_program();
  if (!program) return tl::unexpected<Error>(program.error());
  return load_filter(*program);
}

}  // namespace vtpm::privsep
