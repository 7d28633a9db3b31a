// SPDX-License-Identifier: Apache-2.0
#include "privsep/fork_server.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/log.h"
#include "privsep/sandbox.h"

namespace vtpm::privsep {
namespace {

// Marks an exec of ourselves after a worker's crash; the control socket stays open.
constexpr int kControlFd = 3;

UniqueFd open_pidfd(pid_t pid) {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

// Forks one worker and tells the manager. In the child it does not return.
Result<void> fork_worker(int control, const ForkRequest& request, UniqueFd socket,
                         const Confinement& confinement, const ForkServerHooks& hooks) {
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    if (auto left = leave_host(confinement, socket.get(), parent); !left) {
      log::error("worker ends", {{"why", left.error().message}});
      ::_exit(71);
    }
    ::_exit(hooks.run_worker(std::move(socket)));
  }
  Forked answer{request.id, pid, 0};
  UniqueFd pidfd;
  if (pid < 0) {
    answer = Forked{request.id, 0, errno};
  } else {
    pidfd = open_pidfd(pid);
    if (!pidfd) {
      answer.error = errno;
      ::kill(pid, SIGKILL);
    }
  }
  const std::array<int, 1> fds{pidfd.get()};
  return send_datagram(control, encode(ForkMessage{answer}),
                       pidfd ? std::span<const int>(fds) : std::span<const int>());
}

// Reports every child that has died; true if one of them crashed.
Result<bool> reap(int control) {
  bool crashed = false;
  for (;;) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return crashed;
    crashed = crashed || is_crash(status);
    VTPM_CHECK(send_datagram(control, encode(ForkMessage{Died{pid, status}})));
  }
}

}  // namespace

int run_fork_server(UniqueFd control, const ForkServerHooks& hooks, char** argv) {
  ::prctl(PR_SET_NAME, "vtpm-forkserver");
  ::prctl(PR_SET_DUMPABLE, 0);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &child, nullptr);
  const UniqueFd signals(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) return 71;

  const Confinement confinement = prepare_sandbox();
  if (auto warm = hooks.warm_up(); !warm) {
    log::error("engine cannot start", {{"why", warm.error().message}});
    return 70;
  }
  for (;;) {
    // Children that died before the signal was blocked, or before an exec, are found here.
    auto crashed = reap(control.get());
    if (!crashed) return 0;  // the manager is gone
    if (*crashed) {
      log::notice("a worker crashed: starting the fork server anew, with a new address layout");
      ::execv("/proc/self/exe", argv);
      log::error("cannot exec the fork server", {{"errno", std::to_string(errno)}});
      return 71;
    }
    std::array<pollfd, 2> wait{pollfd{control.get(), POLLIN, 0}, pollfd{signals.get(), POLLIN, 0}};
    if (::poll(wait.data(), wait.size(), -1) < 0 && errno != EINTR) return 71;
    if (wait[1].revents != 0) {
      signalfd_siginfo ignored{};
      while (::read(signals.get(), &ignored, sizeof ignored) > 0) {
      }
    }
    if (wait[0].revents == 0) continue;
    auto received = receive_datagram(control.get(), true);
    if (!received) {
      if (received.error().code == ErrorCode::busy) continue;
      return 71;
    }
    if (received->bytes.empty()) return 0;
    auto message = decode_fork(received->bytes);
    const auto* request = message ? std::get_if<ForkRequest>(&*message) : nullptr;
    if (request == nullptr || received->descriptors.size() != 1) {
      log::error("fork server: the manager sent what is no request");
      return 76;
    }
    if (!fork_worker(control.get(), *request, std::move(received->descriptors[0]), confinement,
                     hooks))
      return 0;
  }
}

Result<ForkServerProcess> spawn_fork_server(const std::string& engine_path) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return fail_errno("cannot make a socket pair", errno);
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  // The read end tells whether exec worked: it closes on success, else carries errno.
  std::array<int, 2> status_pipe{};
  if (::pipe2(status_pipe.data(), O_CLOEXEC) != 0) return fail_errno("cannot make a pipe", errno);
  UniqueFd status_read(status_pipe[0]);
  UniqueFd status_write(status_pipe[1]);

  std::string path = engine_path;
  std::string argument = "--fork-server";
  std::array<char*, 3> argv{path.data(), argument.data(), nullptr};
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("cannot fork", errno);
  if (pid == 0) {
    // Only async-signal-safe calls here: the manager may have threads when it restarts the server.
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    int moved = status_write.get();
    if (moved == kControlFd) moved = ::fcntl(moved, F_DUPFD_CLOEXEC, 10);
    const bool ready = theirs.get() == kControlFd ? ::fcntl(kControlFd, F_SETFD, 0) == 0
                                                  : ::dup2(theirs.get(), kControlFd) >= 0;
    if (ready) ::execv(path.c_str(), argv.data());
    const int why = errno;
    [[maybe_unused]] const ssize_t told = ::write(moved, &why, sizeof why);
    ::_exit(127);
  }
  status_write.reset();
  theirs.reset();
  int why = 0;
  ssize_t got = 0;
  do {
    got = ::read(status_read.get(), &why, sizeof why);
  } while (got < 0 && errno == EINTR);
  if (got == sizeof why) {
    ::waitpid(pid, nullptr, 0);
    return fail_errno("cannot start " + engine_path, why,
                      "install vtpm-engine, or name it with --engine PATH");
  }
  ForkServerProcess process;
  process.control = std::move(ours);
  process.pid = pid;
  process.pidfd = open_pidfd(pid);
  return process;
}

Result<void> harden_worker() {
  if (::prctl(PR_SET_DUMPABLE, 0) != 0) return fail_errno("cannot forbid core dumps", errno);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return fail_errno("cannot give up new privileges", errno);
  const rlimit no_core{0, 0};
  if (::setrlimit(RLIMIT_CORE, &no_core) != 0) return fail_errno("cannot forbid core dumps", errno);
  return {};
}

}  // namespace vtpm::privsep
