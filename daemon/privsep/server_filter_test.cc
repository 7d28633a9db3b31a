// SPDX-License-Identifier: Apache-2.0
// What the fork server's filter kills, and that a sandbox can be made and entered under it. That
// the server can exec itself anew under it is selftests/sandbox/sandbox-test's to show.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <functional>
#include <vector>

#include "privsep/sandbox.h"
#include "privsep/test_child.h"

namespace vtpm::privsep {
namespace {

#ifndef VTPM_SANITIZE  // such a build has no filter

using testing::status_of;

struct Call {
  const char* what;
  long number;
  std::array<long, 6> arguments{};
};

std::vector<Call> forbidden() {
  static std::array<char, 64> path{"/dev/null"};
  const auto text = reinterpret_cast<long>(path.data());
  const long us = ::getpid();
  return {
      {"make a file", SYS_openat, {AT_FDCWD, text, O_WRONLY | O_CREAT, 0600}},
      {"make a file without a name", SYS_openat, {AT_FDCWD, text, O_RDWR | O_TMPFILE, 0600}},
      {"open by handle", SYS_open_by_handle_at, {-1}},
      {"mkdir", SYS_mkdirat, {AT_FDCWD, text}},
      {"rmdir", SYS_unlinkat, {AT_FDCWD, text, AT_REMOVEDIR}},
      {"mknod", SYS_mknodat, {AT_FDCWD, text}},
      {"link", SYS_linkat, {AT_FDCWD, text, AT_FDCWD, text}},
      {"symlink", SYS_symlinkat, {text, AT_FDCWD, text}},
      {"rename", SYS_renameat2, {AT_FDCWD, text, AT_FDCWD, text}},
      {"chmod", SYS_fchmodat, {AT_FDCWD, text, 0}},
      {"chown", SYS_fchownat, {AT_FDCWD, text, -1, -1}},
      {"truncate", SYS_truncate, {text}},
      {"list a folder", SYS_getdents64, {-1}},
      {"socket", SYS_socket, {AF_UNIX, SOCK_STREAM}},
      {"socket of netlink", SYS_socket, {AF_NETLINK, SOCK_RAW}},
      {"a pair of other sockets", SYS_socketpair, {AF_NETLINK, SOCK_RAW, 0, text}},
      {"connect", SYS_connect, {-1, text, 16}},
      {"bind", SYS_bind, {-1, text, 16}},
      {"listen", SYS_listen, {-1}},
      {"another option of a socket", SYS_setsockopt, {-1, SOL_SOCKET, SO_PASSCRED}},
      {"a thread", SYS_clone, {CLONE_VM | CLONE_SIGHAND | CLONE_THREAD}},
      {"a child in a user namespace", SYS_clone, {CLONE_NEWUSER | SIGCHLD}},
      {"a child in a namespace of PIDs", SYS_clone, {CLONE_NEWPID | SIGCHLD}},
      {"a user namespace", SYS_unshare, {CLONE_NEWUSER}},
      {"a namespace of PIDs", SYS_unshare, {CLONE_NEWPID | CLONE_NEWNS}},
      {"another's namespace of PIDs", SYS_setns, {-1, CLONE_NEWPID}},
      {"another's namespaces", SYS_setns, {-1, 0}},
      {"mount of a device", SYS_mount, {text, text, text, 0}},
      {"bind mount", SYS_mount, {text, text, 0, MS_BIND}},
      {"unmount", SYS_umount2, {text, 0}},
      {"fsopen", SYS_fsopen, {text}},
      {"another signal", SYS_kill, {us, SIGTERM}},
      {"another signal by pidfd", SYS_pidfd_send_signal, {-1, SIGTERM}},
      {"take a descriptor", SYS_pidfd_getfd, {-1, 0}},
      {"ptrace", SYS_ptrace, {PTRACE_ATTACH, us}},
      {"read another's memory", SYS_process_vm_readv, {us}},
      {"write another's memory", SYS_process_vm_writev, {us}},
      {"be root", SYS_setresuid, {0, 0, 0}},
      {"be another user", SYS_setresuid, {1000, 1000, 1000}},
      {"be a worker that is root again", SYS_setresuid, {kFirstWorkerId + 1L, 0, 0}},
      {"be in another group", SYS_setresgid, {6, 6, 6}},
      {"be in groups", SYS_setgroups, {1, text}},
      {"another's limits", SYS_prlimit64, {us, RLIMIT_CORE}},
      {"another's priority", SYS_setpriority, {PRIO_PROCESS, us}},
      {"prctl of mappings", SYS_prctl, {PR_SET_MM, PR_SET_MM_START_CODE}},
      {"prctl of tracers", SYS_prctl, {PR_SET_PTRACER, us}},
      {"prctl of secure bits", SYS_prctl, {PR_SET_SECUREBITS}},
      {"memory to write and execute",
       SYS_mmap,
       {0, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1}},
      {"memory made executable", SYS_mprotect, {0, 4096, PROT_EXEC}},
      {"an ioctl of a terminal", SYS_ioctl, {0, 0x5412, text}},
      {"fcntl of flags", SYS_fcntl, {2, F_SETFL, 0}},
      {"load a module", SYS_finit_module, {-1, text}},
      {"load a kernel", SYS_kexec_load, {0}},
      {"bpf", SYS_bpf, {-1}},
      {"keyctl", SYS_keyctl, {-1}},
      {"io_uring", SYS_io_uring_setup, {1}},
      {"perf", SYS_perf_event_open, {0}},
      {"userfaultfd", SYS_userfaultfd, {0}},
      {"set the clock", SYS_clock_settime, {-1}},
      {"a host name", SYS_sethostname, {text, -1}},
      {"a call that does not exist", 0xfff, {}},
#ifdef __x86_64__
      {"x32", 0x40000000 | SYS_getpid, {}},
#endif
  };
}

TEST(ServerFilter, kills_what_neither_server_nor_worker_needs) {
  for (const Call& one : forbidden()) {
    const int status = status_of([&] {
      if (!confine_fork_server()) ::_exit(1);
      const auto& a = one.arguments;
      ::syscall(one.number, a[0], a[1], a[2], a[3], a[4], a[5]);
    });
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        << one.what << ": status " << status;
  }
}

// As the server does it after an exec, and a worker of it, down to the worker's own filter.
TEST(ServerFilter, lets_a_sandbox_be_made_and_entered) {
  const int status = status_of([] {
    if (!confine_fork_server()) ::_exit(1);
    const Confinement confinement = prepare_sandbox();
    const pid_t server = ::getpid();
    const int worker = status_of([&] {
      if (!leave_host(confinement, STDERR_FILENO + 1, server)) ::_exit(2);
      if (::geteuid() != 0 && ::geteuid() < kFirstWorkerId) ::_exit(3);
      if (!enter_sandbox(NodeKind::socket)) ::_exit(4);
      std::array<char, 8> random{};
      if (::syscall(SYS_getrandom, random.data(), random.size(), 0) != 8) ::_exit(5);
      ::syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY);  // the server may
      ::_exit(6);
    });
    ::_exit(WIFSIGNALED(worker) && WTERMSIG(worker) == SIGSYS ? 0 : 10 + WEXITSTATUS(worker));
  });
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

// glibc goes on with clone() when clone3() is not there.
TEST(ServerFilter, lets_fork_work) {
  EXPECT_EQ(status_of([] {
              if (!confine_fork_server()) ::_exit(1);
              if (::syscall(SYS_clone3, nullptr, 0) != -1 || errno != ENOSYS) ::_exit(2);
              ::_exit(status_of([] {}) == 0 ? 0 : 3);
            }),
            0);
}

#endif

}  // namespace
}  // namespace vtpm::privsep
