// SPDX-License-Identifier: Apache-2.0
#include "subject.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace bench {
namespace {

constexpr std::size_t kMaxFrame = 4096;
using Buffer = std::array<std::uint8_t, kMaxFrame>;

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

void write_frame(int fd, std::span<const std::uint8_t> frame) {
  const ssize_t n = ::write(fd, frame.data(), frame.size());
  if (n < 0) die_errno("write");
  if (static_cast<std::size_t>(n) != frame.size()) die("a frame was taken in part only");
}

std::size_t read_some(int fd, std::span<std::uint8_t> into) {
  const ssize_t n = ::read(fd, into.data(), into.size());
  if (n < 0) die_errno("read");
  if (n == 0) die("the other side has closed");
  return static_cast<std::size_t>(n);
}

class Device final : public Subject {
 public:
  explicit Device(Fd fd) : fd_(std::move(fd)) {}
  std::span<const std::uint8_t> exchange(const Bytes& request, std::size_t /*size*/) override {
    write_frame(fd_.get(), request);
    return {buffer_.data(), read_some(fd_.get(), buffer_)};
  }

 private:
  Fd fd_;
  Buffer buffer_{};
};

class Socket final : public Subject {
 public:
  explicit Socket(Fd fd) : fd_(std::move(fd)) {}
  std::span<const std::uint8_t> exchange(const Bytes& request, std::size_t /*size*/) override {
    write_frame(fd_.get(), request);
    std::size_t got = 0;
    std::size_t whole = kHeaderSize;
    while (got < whole) {
      got += read_some(fd_.get(), std::span(buffer_).subspan(got));
      if (got >= kHeaderSize) whole = size_of({buffer_.data(), got});
    }
    return {buffer_.data(), got};
  }

 private:
  Fd fd_;
  Buffer buffer_{};
};

// The first two bytes of a ping say how long the pong shall be.
[[noreturn]] void pong(int in, int out) {
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
  Buffer buffer{};
  for (;;) {
    if (::read(in, buffer.data(), buffer.size()) <= 0) ::_exit(0);
    const std::size_t size = static_cast<std::size_t>(buffer[0]) << 8 | buffer[1];
    if (::write(out, buffer.data(), size) < 0) ::_exit(1);
  }
}

class PingPong final : public Subject {
 public:
  PingPong(Fd to, Fd from) : to_(std::move(to)), from_(std::move(from)) {}
  [[nodiscard]] bool is_tpm() const override { return false; }
  std::span<const std::uint8_t> exchange(const Bytes& request, std::size_t size) override {
    if (request.size() < 2) die("a ping is too short");
    ping_ = request;
    ping_[0] = static_cast<std::uint8_t>(size >> 8);
    ping_[1] = static_cast<std::uint8_t>(size);
    write_frame(to_.get(), ping_);
    const int from = from_.get() >= 0 ? from_.get() : to_.get();
    return {buffer_.data(), read_some(from, buffer_)};
  }

 private:
  Fd to_;
  Fd from_;  // invalid: to_ goes both ways
  Bytes ping_;
  Buffer buffer_{};
};

void start_pong(int in, int out, std::initializer_list<int> not_for_it) {
  const pid_t child = ::fork();
  if (child < 0) die_errno("fork");
  if (child > 0) return;
  for (const int fd : not_for_it) ::close(fd);
  pong(in, out);
}

std::unique_ptr<Subject> open_pipe_ping_pong() {
  int there[2];
  int back[2];
  if (::pipe(there) != 0 || ::pipe(back) != 0) die_errno("pipe");
  Fd child_in(there[0]);
  Fd child_out(back[1]);
  start_pong(there[0], back[1], {there[1], back[0]});
  return std::make_unique<PingPong>(Fd(there[1]), Fd(back[0]));
}

std::unique_ptr<Subject> open_unix_ping_pong() {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) die_errno("socketpair");
  Fd child(pair[1]);
  start_pong(pair[1], pair[1], {pair[0]});
  return std::make_unique<PingPong>(Fd(pair[0]), Fd());
}

std::unique_ptr<Subject> connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) die("too long for a socket: " + path);
  path.copy(address.sun_path, path.size());
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) die_errno("socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    die_errno("connect to " + path);
  return std::make_unique<Socket>(std::move(fd));
}

}  // namespace

void die(const std::string& message) {
  (void)std::fprintf(stderr, "bench: %s\n", message.c_str());
  std::exit(1);
}

void die_errno(const std::string& message) { die(message + ": " + std::strerror(errno)); }

std::unique_ptr<Subject> open_subject(const std::string& what) {
  if (what == "pipe:") return open_pipe_ping_pong();
  if (what == "unix:") return open_unix_ping_pong();
  struct stat st{};
  if (::stat(what.c_str(), &st) != 0) die_errno(what);
  if (S_ISSOCK(st.st_mode)) return connect_to(what);
  Fd fd(::open(what.c_str(), O_RDWR | O_CLOEXEC));
  if (fd.get() < 0) die_errno(what);
  return std::make_unique<Device>(std::move(fd));
}

}  // namespace bench
