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
#include <cstring>

#include "base/log.h"
#include "privsep/fork_messages.h"
#include "privsep/messages.h"
#include "privsep/rendezvous.h"
#include "privsep/sandbox.h"
#include "privsep/worker_table.h"

namespace vtpm::privsep {
namespace {

constexpr const char* kControlDevice = "/dev/vtpm";
constexpr timeval kSendLimit{10, 0};  // a manager that does not read for so long is dropped

UniqueFd open_pidfd(pid_t pid) {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

class Server {
 public:
  Server(ServerState state, const ForkServerOptions& options, const ForkServerHooks& hooks,
         const Confinement& confinement, UniqueFd signals)
      : state_(std::move(state)),
        options_(options),
        hooks_(hooks),
        confinement_(confinement),
        signals_(std::move(signals)) {}
  int run(char** argv);

 private:
  void reap();
  void tell_deaths();
  void accept_manager();
  void greet();
  void read_manager();
  void handle(const ForkMessage& message, std::vector<UniqueFd> descriptors);
  void fork_worker(const ForkRequest& request, std::vector<UniqueFd> descriptors);
  void open_control();
  void kill_worker(pid_t pid);
  bool tell(const ForkMessage& message, std::span<const int> descriptors = {});
  void drop_manager(const char* why);
  void read_signals();
  int end();
  int exec_anew(char** argv);

  ServerState state_;
  const ForkServerOptions& options_;
  const ForkServerHooks& hooks_;
  const Confinement& confinement_;
  UniqueFd signals_;
  bool crashed_ = false;  // a worker did
  bool ending_ = false;
  bool deaths_wait_ = false;  // the manager has not read the deaths before
};

int Server::run(char** argv) {
  while (!ending_) {
    // Children that died before the signal was blocked, or before an exec, are found here.
    reap();
    tell_deaths();
    if (crashed_) return exec_anew(argv);
    const short manager_events = deaths_wait_ ? POLLIN | POLLOUT : POLLIN;
    std::array<pollfd, 3> wait{pollfd{signals_.get(), POLLIN, 0},
                               pollfd{state_.manager.get(), manager_events, 0},
                               pollfd{state_.listener.get(), POLLIN, 0}};
    if (::poll(wait.data(), wait.size(), -1) < 0 && errno != EINTR) return 71;
    if (wait[0].revents != 0) read_signals();
    if ((wait[1].revents & ~POLLOUT) != 0) read_manager();
    if (wait[2].revents != 0) accept_manager();
  }
  return end();
}

void Server::read_signals() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) > 0)
    if (info.ssi_signo != SIGCHLD) ending_ = true;
}

void Server::reap() {
  for (;;) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return;
    crashed_ = crashed_ || is_crash(status);
    const auto worker = state_.workers.find(pid);
    if (worker == state_.workers.end()) continue;
    worker->second.dead = true;
    worker->second.wait_status = status;
  }
}

// A death that cannot be told now, for want of a manager or of room, is told later.
void Server::tell_deaths() {
  deaths_wait_ = false;
  for (auto it = state_.workers.begin(); it != state_.workers.end() && state_.manager;) {
    if (!it->second.dead) {
      ++it;
      continue;
    }
    const auto told =
        send_datagram(state_.manager.get(),
                      encode(ForkMessage{Died{it->first, it->second.wait_status}}), {}, true);
    if (!told) {
      deaths_wait_ = told.error().code == ErrorCode::busy;
      return;
    }
    it = state_.workers.erase(it);
  }
}

void Server::accept_manager() {
  UniqueFd connection(::accept4(state_.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!connection) return;
  const auto peer = peer_of(connection.get());
  if (!peer || (peer->uid != options_.manager && peer->uid != ::geteuid())) {
    log::warning("fork server: refused a connection",
                 {{"uid", peer ? std::to_string(peer->uid) : "unknown"}});
    return;
  }
  // What a manager asked for before it died is still in the socket, and comes first.
  while (state_.manager) {
    pollfd wait{state_.manager.get(), POLLIN, 0};
    if (::poll(&wait, 1, 0) < 1) break;
    read_manager();
  }
  if (state_.manager) {
    (void)send_datagram(connection.get(), encode(ForkMessage{Busy{state_.manager_pid}}), {}, true);
    return;
  }
  (void)::setsockopt(connection.get(), SOL_SOCKET, SO_SNDTIMEO, &kSendLimit, sizeof kSendLimit);
  state_.manager = std::move(connection);
  state_.manager_pid = peer->pid;
  reap();
  greet();
}

void Server::greet() {
  const UniqueFd self = open_pidfd(::getpid());
  const std::array<int, 1> fds{self.get()};
  Welcome welcome;
  welcome.pid = ::getpid();
  welcome.workers = static_cast<std::uint32_t>(state_.workers.size());
  welcome.release = hooks_.release;
  if (!self || !tell(welcome, fds)) return;
  for (auto it = state_.workers.begin(); it != state_.workers.end();) {
    const ServedWorker& worker = it->second;
    std::vector<int> descriptors{worker.for_manager.front().get(), worker.pidfd.get()};
    for (std::size_t i = 1; i < worker.for_manager.size(); i++)
      descriptors.push_back(worker.for_manager[i].get());
    if (!tell(Inherited{.pid = it->first,
                        .device = worker.device,
                        .incarnation = worker.incarnation,
                        .dead = worker.dead,
                        .wait_status = worker.wait_status},
              descriptors))
      return;
    it = worker.dead ? state_.workers.erase(it) : std::next(it);
  }
  log::info("fork server has a manager", {{"pid", std::to_string(state_.manager_pid)},
                                          {"workers", std::to_string(state_.workers.size())}});
}

bool Server::tell(const ForkMessage& message, std::span<const int> descriptors) {
  if (send_datagram(state_.manager.get(), encode(message), descriptors)) return true;
  drop_manager("it does not read");
  return false;
}

void Server::drop_manager(const char* why) {
  log::notice("fork server has no manager; its workers go on", {{"why", why}});
  state_.manager.reset();
  state_.manager_pid = 0;
}

void Server::read_manager() {
  auto received = receive_datagram(state_.manager.get(), true);
  if (!received) {
    if (received.error().code != ErrorCode::busy) drop_manager("it cannot be read");
    return;
  }
  if (received->bytes.empty()) return drop_manager("it has gone");
  auto message = decode_fork(received->bytes);
  if (!message) return drop_manager("it sent what is no message");
  handle(*message, std::move(received->descriptors));
}

void Server::handle(const ForkMessage& message, std::vector<UniqueFd> descriptors) {
  if (const auto* request = std::get_if<ForkRequest>(&message)) {
    if (descriptors.size() < 2) return drop_manager("it asked for a worker without its sockets");
    fork_worker(*request, std::move(descriptors));
  } else if (const auto* kill = std::get_if<Kill>(&message)) {
    kill_worker(kill->pid);
  } else if (std::holds_alternative<OpenControl>(message)) {
    open_control();
  } else if (std::holds_alternative<End>(message)) {
    ending_ = true;
  } else {
    drop_manager("it sent what only a fork server sends");
  }
}

// In the child it does not return.
void Server::fork_worker(const ForkRequest& request, std::vector<UniqueFd> descriptors) {
  // Two workers of one device could both write its state: not even a confused manager gets them.
  for (const auto& [other, worker] : state_.workers) {
    if (worker.dead || worker.device != request.device) continue;
    (void)tell(Forked{request.id, 0, EBUSY});
    return;
  }
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    if (auto left = leave_host(confinement_, descriptors[0].get(), parent); !left) {
      log::error("worker ends", {{"why", left.error().message}});
      ::_exit(71);
    }
    ::_exit(hooks_.run_worker(std::move(descriptors[0])));
  }
  if (pid < 0) {
    (void)tell(Forked{request.id, 0, errno});
    return;
  }
  ServedWorker worker;
  worker.device = request.device;
  worker.incarnation = request.incarnation;
  worker.pidfd = open_pidfd(pid);
  if (!worker.pidfd) {
    const int why = errno;
    ::kill(pid, SIGKILL);
    (void)tell(Forked{request.id, 0, why});
    return;
  }
  for (std::size_t i = 1; i < descriptors.size(); i++)
    worker.for_manager.push_back(std::move(descriptors[i]));
  const std::array<int, 1> fds{worker.pidfd.get()};
  state_.workers[pid] = std::move(worker);
  (void)tell(Forked{request.id, pid, 0}, fds);
}

void Server::open_control() {
  const UniqueFd control(::open(kControlDevice, O_RDWR | O_CLOEXEC | O_NONBLOCK));
  const int why = control ? 0 : errno;
  const std::array<int, 1> fds{control.get()};
  (void)tell(Control{why}, control ? std::span<const int>(fds) : std::span<const int>());
}

// By pidfd: a number may be another process's by now.
void Server::kill_worker(pid_t pid) {
  const auto worker = state_.workers.find(pid);
  if (worker == state_.workers.end() || worker->second.dead) return;
  (void)::syscall(SYS_pidfd_send_signal, worker->second.pidfd.get(), SIGKILL, nullptr, 0);
}

// Every reply's effect is kept before it leaves, so a kill loses nothing.
int Server::end() {
  for (const auto& [pid, worker] : state_.workers) kill_worker(pid);
  while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
  }
  (void)::unlink(options_.socket_path.c_str());
  log::info("fork server ends", {{"workers", std::to_string(state_.workers.size())}});
  return 0;
}

int Server::exec_anew(char** argv) {
  log::notice("a worker crashed: starting the fork server anew, with a new address layout");
  const auto saved = save_state(state_);
  if (!saved) {
    log::error("cannot exec the fork server", {{"why", saved.error().message}});
    return 71;
  }
  // Words of an earlier exec are left out.
  std::string resume = "--resume";
  std::string number = std::to_string(*saved);
  std::string manager = std::to_string(options_.manager);
  std::vector<char*> words{argv[0]};
  for (char** word = argv + 1; *word != nullptr && word[1] != nullptr; word += 2) {
    const std::string_view name = *word;
    if (name == "--resume" || name == "--ready-fd") continue;
    words.insert(words.end(), {word[0], name == "--manager-user" ? manager.data() : word[1]});
  }
  words.insert(words.end(), {resume.data(), number.data(), nullptr});
  ::execv("/proc/self/exe", words.data());
  log::error("cannot exec the fork server", {{"errno", std::to_string(errno)}});
  return 71;
}

// A device has up to four descriptors here.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int run_fork_server(const ForkServerOptions& options, const ForkServerHooks& hooks, char** argv) {
  ::prctl(PR_SET_NAME, "vtpm-forkserver");
  ::prctl(PR_SET_DUMPABLE, 0);
  sigset_t handled;
  sigemptyset(&handled);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT}) sigaddset(&handled, signal);
  ::sigprocmask(SIG_BLOCK, &handled, nullptr);
  UniqueFd signals(::signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) return 71;
  raise_descriptor_limit();

  ServerState state;
  UniqueFd lock;
  if (options.resume_fd >= 0) {
    lock.reset(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
    auto restored = restore_state(options.resume_fd);
    if (!restored || !lock) {
      log::error("fork server cannot go on after its exec",
                 {{"why", restored ? "its lock is gone" : restored.error().message}});
      return 70;
    }
    state = *std::move(restored);
  } else {
    auto claimed = claim_rendezvous(options.socket_path, options.manager);
    if (!claimed) {
      log::error(claimed.error().message, {{"hint", claimed.error().hint}});
      return 69;
    }
    lock = std::move(claimed->lock);
    state.listener = std::move(claimed->listener);
  }
  const Confinement confinement = prepare_sandbox();
  if (auto prepared = prepare_filters(); !prepared) {
    log::error(prepared.error().message, {{"hint", prepared.error().hint}});
    return 71;
  }
  // Descriptor 0: what workers keep, as long as they live.
  if (::dup2(lock.get(), STDIN_FILENO) < 0) return 71;
  lock.reset();
  if (auto warm = hooks.warm_up(); !warm) {
    log::error("engine cannot start", {{"why", warm.error().message}});
    return 70;
  }
  if (options.resume_fd < 0) {
    announce_ready(options.ready_fd);
    // What execs itself anew has it already.
    if (auto confined = hooks.filtered ? confine_fork_server() : Result<void>(); !confined) {
      log::error(confined.error().message, {{"hint", confined.error().hint}});
      return 71;
    }
  }
  return Server(std::move(state), options, hooks, confinement, std::move(signals)).run(argv);
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
