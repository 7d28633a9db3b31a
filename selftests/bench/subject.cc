// SPDX-License-Identifier: Apache-2.0
#include "subject.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <utility>

#include "base/unique_fd.h"

namespace bench {
namespace {

using vtpm::UniqueFd;

constexpr std::size_t kMaxFrame = 4096;
using Buffer = std::array<std::byte, kMaxFrame>;

void write_frame(int fd, ByteView frame) {
  const ssize_t n = ::write(fd, frame.data(), frame.size());
  if (n < 0) die_errno("write");
  if (static_cast<std::size_t>(n) != frame.size()) die("a frame was taken in part only");
}

std::size_t read_some(int fd, vtpm::MutableByteView into) {
  const ssize_t n = ::read(fd, into.data(), into.size());
  if (n < 0) die_errno("read");
  if (n == 0) die("the other side has closed");
  return static_cast<std::size_t>(n);
}

class Device final : public Subject {
 public:
  explicit Device(UniqueFd fd) : fd_(std::move(fd)) {}
  ByteView exchange(ByteView request, std::size_t /*size*/) override {
    write_frame(fd_.get(), request);
    return {buffer_.data(), read_some(fd_.get(), buffer_)};
  }

 private:
  UniqueFd fd_;
  Buffer buffer_{};
};

class Socket final : public Subject {
 public:
  explicit Socket(UniqueFd fd) : fd_(std::move(fd)) {}
  ByteView exchange(ByteView request, std::size_t /*size*/) override {
    write_frame(fd_.get(), request);
    std::size_t got = 0;
    std::size_t whole = kHeaderSize;
    while (got < whole) {
      got += read_some(fd_.get(), vtpm::MutableByteView(buffer_).subspan(got));
      if (got >= kHeaderSize) whole = size_of({buffer_.data(), got});
    }
    return {buffer_.data(), got};
  }

 private:
  UniqueFd fd_;
  Buffer buffer_{};
};

using Answer = std::function<ByteView(ByteView ping)>;

// The first two bytes of a ping say how long the pong shall be.
Answer pong_of(Buffer& buffer) {
  return [&buffer](ByteView ping) {
    return ByteView(buffer).first(std::min<std::size_t>(vtpm::load_be16(ping.data()), kMaxFrame));
  };
}

[[noreturn]] void serve(int in, int out, const Answer& answer) {
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
  Buffer buffer{};
  for (;;) {
    const ssize_t n = ::read(in, buffer.data(), buffer.size());
    if (n <= 2) ::_exit(0);
    write_frame(out, answer(ByteView(buffer).first(static_cast<std::size_t>(n))));
  }
}

class PingPong final : public Subject {
 public:
  PingPong(UniqueFd to, UniqueFd from, bool libtpms)
      : to_(std::move(to)), from_(std::move(from)), libtpms_(libtpms) {}
  [[nodiscard]] bool is_tpm() const override { return libtpms_; }
  ByteView exchange(ByteView request, std::size_t size) override {
    if (request.size() < 2) die("a ping is too short");
    ping_.assign(request.begin(), request.end());
    if (!libtpms_) vtpm::store_be16(ping_.data(), static_cast<std::uint16_t>(size));
    write_frame(to_.get(), ping_);
    const int from = from_.get() >= 0 ? from_.get() : to_.get();
    return {buffer_.data(), read_some(from, buffer_)};
  }

 private:
  UniqueFd to_;
  UniqueFd from_;  // invalid: to_ goes both ways
  bool libtpms_;   // what answers is a TPM, and gets the request as it is
  Bytes ping_;
  Buffer buffer_{};
};

void start_pong(int in, int out, std::initializer_list<int> not_for_it, bool libtpms) {
  const pid_t child = ::fork();
  if (child < 0) die_errno("fork");
  if (child > 0) return;
  for (const int fd : not_for_it) ::close(fd);
  Buffer pong{};
  if (!libtpms) serve(in, out, pong_of(pong));
  const auto tpm = open_libtpms();
  serve(in, out, [&tpm](ByteView command) { return tpm->exchange(command, 0); });
}

std::unique_ptr<Subject> open_pipe_ping_pong(bool libtpms) {
  int there[2];
  int back[2];
  if (::pipe(there) != 0 || ::pipe(back) != 0) die_errno("pipe");
  const UniqueFd child_in(there[0]);
  const UniqueFd child_out(back[1]);
  start_pong(there[0], back[1], {there[1], back[0]}, libtpms);
  return std::make_unique<PingPong>(UniqueFd(there[1]), UniqueFd(back[0]), libtpms);
}

std::unique_ptr<Subject> open_unix_ping_pong() {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) die_errno("socketpair");
  const UniqueFd child(pair[1]);
  start_pong(pair[1], pair[1], {pair[0]}, false);
  return std::make_unique<PingPong>(UniqueFd(pair[0]), UniqueFd(), false);
}

std::unique_ptr<Subject> connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) die("too long for a socket: " + path);
  path.copy(address.sun_path, path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
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
  if (what == "pipe:") return open_pipe_ping_pong(false);
  if (what == "libtpms-pipe:") return open_pipe_ping_pong(true);
  if (what == "libtpms:") return open_libtpms();
  if (what == "unix:") return open_unix_ping_pong();
  struct stat st{};
  if (::stat(what.c_str(), &st) != 0) die_errno(what);
  if (S_ISSOCK(st.st_mode)) return connect_to(what);
  UniqueFd fd(::open(what.c_str(), O_RDWR | O_CLOEXEC));
  if (fd.get() < 0) die_errno(what);
  return std::make_unique<Device>(std::move(fd));
}

}  // namespace bench
