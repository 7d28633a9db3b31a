// SPDX-License-Identifier: Apache-2.0
#include "privsep/rendezvous.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace vtpm::privsep {
namespace {

constexpr std::chrono::seconds kLockLimit{10};
constexpr int kReadyFd = 3;  // of the new server

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return fail(ErrorCode::invalid_argument, "the path of the fork server's socket is too long",
                "choose a shorter --run-dir");
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

std::string holder_of(const std::string& lock_path) {
  const UniqueFd file(::open(lock_path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  std::array<char, 16> text{};
  const ssize_t got = file ? ::read(file.get(), text.data(), text.size()) : 0;
  std::string pid(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  while (!pid.empty() && (pid.back() < '0' || pid.back() > '9')) pid.pop_back();
  return pid;
}

// The lock is on a descriptor that cannot write: workers have it too.
Result<UniqueFd> take_lock(const std::string& path) {
  const UniqueFd file(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  UniqueFd lock(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file || !lock) return fail_errno("cannot open " + path, errno);
  const auto deadline = std::chrono::steady_clock::now() + kLockLimit;
  while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return fail_errno("cannot lock " + path, errno);
    if (std::chrono::steady_clock::now() > deadline)
      return fail(ErrorCode::busy,
                  "another fork server or a worker of it still lives: process " + holder_of(path),
                  "end it, or use another --run-dir");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(file.get(), 0) != 0 ||
      ::write(file.get(), pid.data(), pid.size()) != static_cast<ssize_t>(pid.size()))
    return fail_errno("cannot write " + path, errno);
  return lock;
}

// In the child of a process that may have threads: only async-signal-safe calls.
[[noreturn]] void become_server(int ready, char* const* argv) {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::setsid();  // what ends the manager's session or its terminal's job is not for the server
  const bool placed =
      ready == kReadyFd ? ::fcntl(ready, F_SETFD, 0) == 0 : ::dup2(ready, kReadyFd) >= 0;
  if (placed) ::execv(argv[0], argv);
  const int why = errno;
  [[maybe_unused]] const ssize_t told = ::write(kReadyFd, &why, sizeof why);
  ::_exit(127);
}

}  // namespace

Result<Rendezvous> claim_rendezvous(const std::string& path, uid_t manager) {
  VTPM_TRY(const sockaddr_un address, address_of(path));
  Rendezvous made;
  VTPM_TRY(made.lock, take_lock(path + ".lock"));
  made.listener.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // The mode is set before there is a name: bind() applies it.
  if (!made.listener || ::fchmod(made.listener.get(), 0600) != 0)
    return fail_errno("cannot make a socket", errno);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return fail_errno("cannot remove the old " + path, errno);
  if (::bind(made.listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
          0 ||
      (manager != ::geteuid() && ::chown(path.c_str(), manager, static_cast<gid_t>(-1)) != 0) ||
      ::listen(made.listener.get(), 8) != 0)
    return fail_errno("cannot listen on " + path, errno);
  return made;
}

void announce_ready(int descriptor) {
  if (descriptor >= 0) {
    const UniqueFd ready(descriptor);
    [[maybe_unused]] const ssize_t told = ::write(ready.get(), "R", 1);
  }
  // sd_notify(3), without its library: workers share what is loaded here.
  const char* where = ::getenv("NOTIFY_SOCKET");  // NOLINT(concurrency-mt-unsafe): one thread
  if (where == nullptr || where[0] != '/') return;
  const auto address = address_of(where);
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (address && socket)
    (void)::sendto(socket.get(), "READY=1", 7, MSG_NOSIGNAL,
                   reinterpret_cast<const sockaddr*>(&*address), sizeof *address);
}

Result<Peer> peer_of(int connection) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return fail_errno("cannot ask who is at the other end", errno);
  return Peer{credentials.uid, credentials.pid};
}

Result<UniqueFd> connect_to_fork_server(const std::string& path) {
  VTPM_TRY(const sockaddr_un address, address_of(path));
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("cannot make a socket", errno);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
    return fd;
  if (errno == ENOENT || errno == ECONNREFUSED)
    return fail(ErrorCode::unavailable, "no fork server listens on " + path,
                "systemctl status vtpm-engine");
  return fail_errno("cannot connect to the fork server on " + path, errno);
}

Result<pid_t> spawn_fork_server(const std::string& engine_path, const std::string& socket_path) {
  // 'R' when it listens, an errno if it cannot be executed, nothing if it ends.
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("cannot make a pipe", errno);
  const UniqueFd ready(ends[0]);
  UniqueFd theirs(ends[1]);
  std::array<std::string, 5> words{engine_path, "--socket", socket_path, "--ready-fd",
                                   std::to_string(kReadyFd)};
  std::array<char*, 6> argv{};
  for (std::size_t i = 0; i < words.size(); i++) argv[i] = words[i].data();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("cannot fork", errno);
  if (pid == 0) become_server(theirs.get(), argv.data());
  theirs.reset();
  std::array<char, sizeof(int)> answer{};
  ssize_t got = 0;
  do {
    got = ::read(ready.get(), answer.data(), answer.size());
  } while (got < 0 && errno == EINTR);
  if (got == 1) return pid;
  ::waitpid(pid, nullptr, 0);
  int why = 0;
  if (got == sizeof why) {
    std::memcpy(&why, answer.data(), sizeof why);
    return fail_errno("cannot start " + engine_path, why,
                      "install vtpm-engine, or name it with --engine PATH");
  }
  return fail(ErrorCode::unavailable, "the fork server " + engine_path + " ended at its start",
              "its own message is in the log");
}

}  // namespace vtpm::privsep
