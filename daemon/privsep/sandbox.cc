// SPDX-License-Identifier: Apache-2.0
#include "privsep/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/log.h"
#include "privsep/fork_server.h"

namespace vtpm::privsep {
namespace {

// Collects what the system did not permit.
class Refusals {
 public:
  void note(bool done, const char* what) {
    if (done) return;
    const int why = errno;
    if (!text_.empty()) text_ += ", ";
    text_.append(what).append(" (errno ").append(std::to_string(why)).append(")");
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// In a child: a mount namespace whose only mount is an empty tmpfs. Returns a descriptor of it.
UniqueFd make_empty_root() {
  if (::unshare(CLONE_NEWNS) != 0) return {};
  // Nothing of this may reach the host's mounts.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return {};
  UniqueFd self(::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
  if (!self) return {};
  // /proc is the one folder that is there for certain.
  if (::mount("none", "/proc", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "size=4k,nr_inodes=2,mode=0555") != 0 ||
      ::chdir("/proc") != 0)
    return {};
  if (::syscall(SYS_pivot_root, ".", ".") == 0) {
    // The old root lies on the new one now: away with it, or it would keep the host's file systems
    // busy for as long as the fork server lives.
    if (::umount2(".", MNT_DETACH) != 0) return {};
  } else {
    // The host's root is an initramfs, which cannot be moved away: cover it. Who enters the
    // namespace gets what is on top.
    if (::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 || ::chroot(".") != 0) return {};
  }
  return self;
}

// A child makes it, as the fork server itself must find its program when it execs itself anew.
UniqueFd empty_root() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return {};
  const UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return {};
  if (child == 0) {
    const UniqueFd made = make_empty_root();
    const std::array<int, 1> fds{made.get()};
    const std::array<std::byte, 1> word{static_cast<std::byte>(made ? 0 : errno)};
    (void)send_datagram(theirs.get(), word, made ? std::span<const int>(fds) : std::span<int>());
    ::_exit(0);
  }
  theirs.reset();
  auto received = receive_datagram(ours.get(), false);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (!received || received->descriptors.size() != 1) {
    errno =
        received && received->bytes.size() == 1 ? std::to_integer<int>(received->bytes[0]) : EIO;
    return {};
  }
  return std::move(received->descriptors[0]);
}

bool set_limit(int resource, rlim_t value) {
  rlimit limit{};
  // Never above what somebody else has set.
  if (::getrlimit(static_cast<__rlimit_resource_t>(resource), &limit) != 0) return false;
  if (limit.rlim_max == RLIM_INFINITY || limit.rlim_max > value) limit.rlim_max = value;
  limit.rlim_cur = limit.rlim_max;
  return ::setrlimit(static_cast<__rlimit_resource_t>(resource), &limit) == 0;
}

bool set_oom_score(int score) {
  const UniqueFd file(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  const std::string text = std::to_string(score);
  return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

bool may_lock_all() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur >= kWorkerAddressSpace;
}

// Keeps state out of swap. MCL_ONFAULT locks what is touched, not what is mapped.
void lock_memory() {
  // Without CAP_IPC_LOCK, which goes next, memory that is to be locked and is over the limit is
  // memory that malloc() does not get: then only what is there now is locked.
  (void)::mlockall(MCL_CURRENT | MCL_ONFAULT | (may_lock_all() ? MCL_FUTURE : 0));
}

bool drop_bounding_set() {
  for (unsigned long cap = 0;; cap++) {
    if (::prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0) continue;
    return errno == EINVAL;  // past the last one that the kernel knows
  }
}

bool drop_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const std::array<__user_cap_data_struct, 2> none{};
  return ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0 &&
         ::syscall(SYS_capset, &header, none.data()) == 0;
}

bool take_own_id() {
  const uid_t id = kFirstWorkerId + static_cast<uid_t>(::getpid());
  return ::setgroups(0, nullptr) == 0 && ::setresgid(id, id, id) == 0 &&
         ::setresuid(id, id, id) == 0;
}

}  // namespace

Confinement prepare_sandbox() {
  Refusals refused;
  // A terminal that vtpmd was started from is not for workers.
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  refused.note(
      null && ::dup2(null.get(), STDIN_FILENO) >= 0 && ::dup2(null.get(), STDOUT_FILENO) >= 0,
      "no terminal");
  // Neither the fork server nor a worker makes a connection: one empty set serves all.
  refused.note(::unshare(CLONE_NEWNET) == 0, "no network");
  refused.note(::unshare(CLONE_NEWIPC) == 0, "no IPC objects");
  // For the workers: a limit that is lower than their memory makes them lock less of it.
  const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
  refused.note(::setrlimit(RLIMIT_MEMLOCK, &unlimited) == 0 || may_lock_all(), "memory locked");
  Confinement confinement;
  if (!kSanitized) {
    confinement.empty_root = empty_root();
    refused.note(static_cast<bool>(confinement.empty_root), "no file system");
  }
  // The first line of a process makes the log look at what stderr is, which a worker may not.
  if (refused.text().empty())
    log::info("fork server is ready");
  else
    log::notice("workers are confined less than they could be", {{"missing", refused.text()}});
  return confinement;
}

Result<void> leave_host(const Confinement& confinement, int keep, pid_t parent) {
  Refusals refused;
  ::prctl(PR_SET_NAME, "vtpm-worker");
  lock_memory();
  refused.note(set_oom_score(kWorkerOomScore), "first to go without memory");
  refused.note(::setpriority(PRIO_PROCESS, 0, kWorkerNice) == 0, "nice");
  if (confinement.empty_root)
    refused.note(::setns(confinement.empty_root.get(), CLONE_NEWNS) == 0, "no file system");
  const auto kept = static_cast<unsigned>(keep);
  if ((kept > 3 && ::close_range(3, kept - 1, 0) != 0) || ::close_range(kept + 1, ~0U, 0) != 0)
    return fail_errno("cannot close the fork server's descriptors", errno);

  // CAP_SETPCAP and CAP_SETUID are needed for what they take away: so in this order.
  refused.note(drop_bounding_set(), "empty bounding set");
  refused.note(take_own_id(), "uid of its own");
  refused.note(drop_capabilities(), "no capabilities");

  // Not RLIMIT_FSIZE: stderr may be a file, and a log line would kill the worker.
  if (!kSanitized) refused.note(set_limit(RLIMIT_AS, kWorkerAddressSpace), "limit of memory");
  refused.note(set_limit(RLIMIT_NOFILE, kWorkerDescriptors), "limit of descriptors");
  refused.note(set_limit(RLIMIT_NPROC, 0), "limit of processes");
  // A change of uid resets "dumpable" and the signal below, so they come last.
  VTPM_CHECK(harden_worker());
  // A worker never outlives the fork server: the manager sees both go at once.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
    return fail_errno("cannot bind the worker to the fork server", errno);
  if (::getppid() != parent) return fail(ErrorCode::unavailable, "the fork server is dead");
  if (!refused.text().empty())
    log::notice("worker is confined less than it could be", {{"missing", refused.text()}});
  return {};
}

void yield_to_others() { (void)::setpriority(PRIO_PROCESS, 0, kIdleNice); }

}  // namespace vtpm::privsep
