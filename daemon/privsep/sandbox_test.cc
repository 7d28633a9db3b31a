// SPDX-License-Identifier: Apache-2.0
#include "privsep/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/vtpm.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <source_location>
#include <string>
#include <vector>

#include "privsep/test_child.h"

namespace vtpm::privsep {
namespace {

using testing::exited;
using testing::killed_by;
using testing::status_of;

// In a child: says where, and ends, if something is not as it must be. Writing to stderr is
// allowed.
void need(bool fine, std::source_location where = std::source_location::current()) {
  if (fine) return;
  const std::string line = "sandbox_test.cc:" + std::to_string(where.line()) + ": not so\n";
  [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, line.data(), line.size());
  ::_exit(1);
}

#ifndef VTPM_SANITIZE  // such a build has no filter

constexpr std::array kNodes{NodeKind::kernel, NodeKind::socket};

struct Forbidden {
  const char* what;
  std::function<void()> call;
};
const pid_t kParent = ::getpid();

std::vector<Forbidden> forbidden() {
  static std::array<char, 64> path{"/dev/null"};
  static std::array<char*, 2> argv{path.data(), nullptr};
  const auto call = [](const char* what, long number, long a = 0, long b = 0, long c = 0,
                       long d = 0, long e = 0) {
    return Forbidden{what, [=] { ::syscall(number, a, b, c, d, e); }};
  };
  const auto text = reinterpret_cast<long>(path.data());
  return {
      call("openat", SYS_openat, AT_FDCWD, text, O_RDONLY),
      call("openat2", SYS_openat2, AT_FDCWD, text),
      call("open_by_handle_at", SYS_open_by_handle_at),
      call("unlinkat", SYS_unlinkat, AT_FDCWD, text),
      call("mkdirat", SYS_mkdirat, AT_FDCWD, text),
      call("readlinkat", SYS_readlinkat, AT_FDCWD, text),
      call("chdir", SYS_chdir, text),
      call("chroot", SYS_chroot, text),
      call("getdents64", SYS_getdents64, 2),
      call("statx", SYS_statx, AT_FDCWD, text),
      call("memfd_create", SYS_memfd_create, text),
      call("io_uring_setup", SYS_io_uring_setup, 1),
      call("socket", SYS_socket, AF_UNIX, SOCK_STREAM),
      call("socket of netlink", SYS_socket, AF_NETLINK, SOCK_RAW),
      call("socketpair", SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, text),
      call("connect", SYS_connect, 2, text, 16),
      call("bind", SYS_bind, 2, text, 16),
      call("execve", SYS_execve, text, reinterpret_cast<long>(argv.data()), 0),
      call("execveat", SYS_execveat, 2, text, reinterpret_cast<long>(argv.data()), 0,
           AT_EMPTY_PATH),
      call("clone", SYS_clone, SIGCHLD),
      call("clone of a thread", SYS_clone, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD),
      call("clone3", SYS_clone3),
      call("unshare", SYS_unshare, CLONE_NEWUSER),
      call("setns", SYS_setns, 2, CLONE_NEWNS),
      call("mount", SYS_mount, text, text, text),
      call("kill of the parent", SYS_kill, kParent, 0),
      call("tgkill of the parent", SYS_tgkill, kParent, kParent, SIGABRT),
      call("tkill", SYS_tkill, kParent, 0),
      {"tgkill of itself, not for abort()",
       [] { ::syscall(SYS_tgkill, ::getpid(), ::gettid(), 0); }},
      call("pidfd_open", SYS_pidfd_open, kParent),
      call("pidfd_getfd", SYS_pidfd_getfd, 2, 0),
      call("ptrace", SYS_ptrace, PTRACE_ATTACH, kParent),
      call("process_vm_readv", SYS_process_vm_readv, kParent),
      call("rt_sigaction", SYS_rt_sigaction, SIGSYS),
      call("mmap, executable", SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC,
           MAP_PRIVATE | MAP_ANONYMOUS, -1),
      call("mmap of a file", SYS_mmap, 0, 4096, PROT_READ, MAP_SHARED, 0),
      {"mprotect, executable",
       [] {
         static std::array<char, 8192> page{};
         const auto first = (reinterpret_cast<std::uintptr_t>(page.data()) + 4095) & ~4095UL;
         ::syscall(SYS_mprotect, first, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
       }},
      call("shmget", SYS_shmget, 1, 4096, 0600),
      call("write to stdout", SYS_write, 1, text, 1),
      call("write to another descriptor", SYS_write, 5, text, 1),
      call("writev to stdout", SYS_writev, 1, text, 0),
      call("read", SYS_read, 0, text, 1),
      call("ioctl TIOCSTI", SYS_ioctl, 0, 0x5412, text),
      call("ioctl TIOCSTI with upper bits", SYS_ioctl, 0, 0x100005412, text),
      call("another ioctl of the module", SYS_ioctl, 0, VTPM_IOC_XCHG + 1, text),
      call("dup2", SYS_dup3, 2, 1),
      call("fcntl", SYS_fcntl, 2, F_SETFL, 0),
      call("setresuid", SYS_setresuid, 0, 0, 0),
      call("capset", SYS_capset),
      call("prctl", SYS_prctl, PR_SET_DUMPABLE, 1),
      call("setrlimit", SYS_prlimit64, 0, RLIMIT_NOFILE),
      call("seccomp", SYS_seccomp, 0, 0, 0),
      call("bpf", SYS_bpf),
      call("keyctl", SYS_keyctl),
      call("perf_event_open", SYS_perf_event_open),
      call("userfaultfd", SYS_userfaultfd),
      call("a call that does not exist", 0xfff),
#ifdef __x86_64__
      call("open", SYS_open, text, O_RDONLY),
      call("fork", SYS_fork),
      call("x32", 0x40000000 | SYS_getpid),
      // socket() by the 32-bit entry, where numbers mean other calls: 20 is getpid() there.
      {"the 32-bit entry", [] { asm volatile("int $0x80"
                                             :
                                             : "a"(20)
                                             : "memory"); }},
#endif
  };
}

TEST(Filter, kills_what_a_worker_does_not_need) {
  for (const NodeKind node : kNodes)
    for (const Forbidden& one : forbidden()) {
      const int status = status_of([&] {
        need(enter_sandbox(node).has_value());
        one.call();
      });
      EXPECT_TRUE(killed_by(status, SIGSYS))
          << one.what << " on node " << static_cast<int>(node) << ": status " << status;
    }
}

TEST(Filter, kills_what_the_other_node_needs) {
  EXPECT_TRUE(killed_by(status_of([] {
                          need(enter_sandbox(NodeKind::socket).has_value());
                          ::ioctl(0, VTPM_IOC_XCHG, nullptr);
                        }),
                        SIGSYS));
  for (const long number : {SYS_accept4, SYS_recvfrom, SYS_sendto, SYS_getsockopt})
    EXPECT_TRUE(killed_by(status_of([&] {
                            need(enter_sandbox(NodeKind::kernel).has_value());
                            ::syscall(number, 0, 0, 0, 0, 0, 0);
                          }),
                          SIGSYS))
        << number;
}

TEST(Filter, lets_the_engine_work) {
  for (const NodeKind node : kNodes)
    EXPECT_TRUE(exited(status_of([&] {
      need(enter_sandbox(node).has_value());
      // malloc() from the heap, by mmap(), grown and given back.
      for (const std::size_t size :
           {std::size_t{100}, std::size_t{200'000}, std::size_t{8} << 20}) {
        void* memory = std::malloc(size);  // NOLINT(cppcoreguidelines-no-malloc): it is the subject
        need(memory != nullptr);
        std::memset(memory, 1, size);
        memory = std::realloc(memory, size * 3);  // NOLINT(cppcoreguidelines-no-malloc)
        need(memory != nullptr);
        std::free(memory);  // NOLINT(cppcoreguidelines-no-malloc)
      }
      std::array<char, 64> random{};
      need(::syscall(SYS_getrandom, random.data(), random.size(), 0) == 64);
      timespec time{};
      for (const clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID})
        need(::syscall(SYS_clock_gettime, clock, &time) == 0);
      need(::syscall(SYS_getpid) > 0);
      need(::write(STDERR_FILENO, "", 0) == 0);
      struct stat st{};
      need(::fstat(STDERR_FILENO, &st) != 0 && errno == EACCES);
      ::close(0);
    }))) << static_cast<int>(node);
}

TEST(Filter, lets_a_kernel_node_exchange_frames) {
  EXPECT_TRUE(exited(status_of([] {
    std::array<int, 2> ends{};
    need(::pipe(ends.data()) == 0);
    need(enter_sandbox(NodeKind::kernel).has_value());
    need(::ioctl(ends[0], VTPM_IOC_XCHG, nullptr) != 0 && errno == ENOTTY);
  })));
}

TEST(Filter, lets_a_socket_node_serve) {
  EXPECT_TRUE(exited(status_of([] {
    std::array<int, 2> ends{};
    need(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends.data()) == 0);
    need(enter_sandbox(NodeKind::socket).has_value());
    pollfd wait{ends[0], POLLIN, 0};
    need(::poll(&wait, 1, 0) == 0);
    need(::send(ends[0], "x", 1, MSG_NOSIGNAL) == 1);
    char c = 0;
    need(::recv(ends[1], &c, 1, MSG_DONTWAIT) == 1 && c == 'x');
    const std::array<std::byte, 3> words{};
    need(send_datagram(ends[0], words).has_value());
    const auto got = receive_datagram(ends[1], true);
    need(got && got->bytes.size() == 3);
    int type = 0;
    socklen_t size = sizeof type;
    need(::getsockopt(ends[0], SOL_SOCKET, SO_TYPE, &type, &size) == 0);
    need(::accept4(ends[0], nullptr, nullptr, SOCK_CLOEXEC) < 0);
  })));
}

TEST(Filter, leaves_a_crash_what_it_is) {
  for (const NodeKind node : kNodes) {
    EXPECT_TRUE(killed_by(status_of([&] {
                            need(enter_sandbox(node).has_value());
                            std::abort();
                          }),
                          SIGABRT));
    EXPECT_TRUE(killed_by(status_of([&] {
                            need(enter_sandbox(node).has_value());
                            std::uintptr_t nothing = 8;
                            asm volatile("" : "+r"(nothing));  // or the compiler sees through it
                            *reinterpret_cast<volatile int*>(nothing) = 1;
                          }),
                          SIGSEGV));
  }
}

#endif

bool root() { return ::geteuid() == 0; }

TEST(LeaveHost, keeps_one_descriptor_and_takes_the_rest) {
  const pid_t parent = ::getpid();
  EXPECT_TRUE(exited(status_of([&] {
    const Confinement confinement = prepare_sandbox();
    const int keep = ::fcntl(STDERR_FILENO, F_DUPFD, 20);
    const int low = ::fcntl(STDERR_FILENO, F_DUPFD, 10);
    const int high = ::fcntl(STDERR_FILENO, F_DUPFD, 40);
    need(leave_host(confinement, keep, parent).has_value());
    for (const int kept : {0, 1, 2, keep}) need(::fcntl(kept, F_GETFD) >= 0);
    for (const int gone : {low, high, confinement.empty_root.get()})
      need(::fcntl(gone, F_GETFD) < 0);
    need(::fcntl(STDERR_FILENO, F_DUPFD, kWorkerDescriptors) < 0);
    int signal = 0;
    need(::prctl(PR_GET_PDEATHSIG, &signal) == 0 && signal == SIGKILL);
    need(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 &&
         ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    rlimit core{1, 1};
    need(::getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0);
    need(::getpriority(PRIO_PROCESS, 0) == kWorkerNice);
    if (kSanitized) return;
    need(::mmap(nullptr, kWorkerAddressSpace, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                -1, 0) == MAP_FAILED);
    if (confinement.empty_root)
      need(::open("/proc", O_RDONLY) < 0 && ::open("/x", O_CREAT | O_WRONLY, 0600) < 0);
  })));
}

TEST(LeaveHost, takes_the_power_of_root) {
  if (!root()) return;  // there is none to take
  const pid_t parent = ::getpid();
  EXPECT_TRUE(exited(status_of([&] {
    need(leave_host(prepare_sandbox(), 3, parent).has_value());
    const uid_t own = kFirstWorkerId + static_cast<uid_t>(::getpid());
    uid_t ids[3]{};
    need(::getresuid(&ids[0], &ids[1], &ids[2]) == 0);
    for (const uid_t id : ids) need(id == own);
    need(::getgid() == own && ::getgroups(0, nullptr) == 0);
    need(::setresuid(0, 0, 0) != 0 && ::unshare(CLONE_NEWNS) != 0);
    need(::kill(parent, 0) != 0 && errno == EPERM);
    need(::fork() < 0);
  })));
}

TEST(LeaveHost, fails_when_the_parent_is_dead) {
  EXPECT_TRUE(exited(status_of([] { need(!leave_host({}, 3, ::getpid()).has_value()); })));
}

// Who has too few rights for the first steps is still kept from the calls.
TEST(LeaveHost, goes_on_without_rights) {
  if (!root()) return;
  EXPECT_TRUE(exited(status_of([] {
    need(::setresgid(65534, 65534, 65534) == 0 && ::setresuid(65534, 65534, 65534) == 0);
    const Confinement confinement = prepare_sandbox();
    need(!confinement.empty_root);
    const pid_t parent = ::getpid();
    const int status = status_of([&] {
      need(leave_host(confinement, 3, parent).has_value());
      need(::getuid() == 65534);
      need(enter_sandbox(NodeKind::socket).has_value());
      ::syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY);
    });
    need(kSanitized ? exited(status) : killed_by(status, SIGSYS));
  })));
}

// The worker's death follows the fork server's although they are different users.
TEST(LeaveHost, binds_the_worker_to_its_parent) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  UniqueFd alive(ends[0]);
  UniqueFd held(ends[1]);
  const int keep = held.get();
  EXPECT_TRUE(killed_by(status_of([&] {
                          const Confinement confinement = prepare_sandbox();
                          const pid_t server = ::getpid();
                          if (::fork() == 0) {
                            need(leave_host(confinement, keep, server).has_value());
                            need(::write(keep, "x", 1) == 1);
                            for (;;) ::pause();
                          }
                          char ready = 0;
                          need(::read(alive.get(), &ready, 1) == 1);
                          ::raise(SIGKILL);
                        }),
                        SIGKILL));
  held.reset();
  pollfd wait{alive.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&wait, 1, 20'000), 1);  // the last writer is gone
}

}  // namespace
}  // namespace vtpm::privsep
