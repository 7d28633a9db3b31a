// SPDX-License-Identifier: Apache-2.0
#include "node.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace edges {
namespace {

constexpr std::size_t kSizeEnd = 6;  // bytes from which the length is known
constexpr std::uint16_t kTagRspCommand = 0x00c4;
constexpr std::uint16_t kTagNoSessions = 0x8001;
constexpr std::uint16_t kTagSessions = 0x8002;
constexpr std::uint32_t kRcCommandSize = 0x142;

std::uint32_t be(const Frame& frame, std::size_t at, std::size_t size) {
  if (frame.size() < at + size) return 0;
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < size; ++i) value = value << 8 | frame[at + i];
  return value;
}

// The rules are those of drivers/char/tpm/tpm-dev-common.c, tpm-interface.c and, for the resource
// manager, tpm2-space.c.
class Device final : public Node {
 public:
  Device(int fd, bool resource_manager) : fd_(fd), resource_manager_(resource_manager) {}
  ~Device() override { (void)::close(fd_); }

  Outcome exchange(const Frame& bytes) override {
    Outcome outcome;
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0) {
      outcome.error = errno;
      return outcome;
    }
    outcome.reply.resize(kMaxFrame);
    const ssize_t got = ::read(fd_, outcome.reply.data(), outcome.reply.size());
    if (got < 0) outcome.error = errno;
    outcome.reply.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return outcome;
  }

  std::string judge(const Frame& sent, const Outcome& outcome) const override {
    const std::uint32_t length = length_of(sent);
    const auto only = [&outcome](int error) {
      if (outcome.error == error) return std::string();
      return std::string("expected ") + std::strerror(error) + ", got " +
             (outcome.error != 0 ? std::strerror(outcome.error) : "a reply");
    };
    if (sent.size() > kMaxFrame) return only(E2BIG);
    if (sent.size() < kSizeEnd || sent.size() < length) return only(EINVAL);
    if (outcome.error == 0) {
      // The resource manager answers an unknown command itself, before it looks at the length.
      if (length == 0 && !resource_manager_) return "a reply to a frame of length 0";
      return malformed(outcome.reply);
    }
    // No TPM sees these: the core refuses 0, the driver may refuse less than a header.
    if (length == 0 && outcome.error == ENODATA) return {};
    if (length < kHeaderSize && outcome.error == EINVAL) return {};
    // A handle that the resource manager does not know.
    if (resource_manager_ && outcome.error == EINVAL) return {};
    return std::string("unexpected errno: ") + std::strerror(outcome.error);
  }

 private:
  int fd_;
  bool resource_manager_;
};

// The rules are those of daemon/channel/channel.h.
class Socket final : public Node {
 public:
  explicit Socket(std::string path) : path_(std::move(path)) {}
  ~Socket() override { disconnect(); }

  bool connect() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path_.size() >= sizeof(address.sun_path)) {
      errno = ENAMETOOLONG;
      return false;
    }
    path_.copy(address.sun_path, path_.size());
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd_ < 0) return false;
    if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) return true;
    disconnect();
    return false;
  }

  Outcome exchange(const Frame& bytes) override {
    Outcome outcome;
    if (fd_ < 0 && !connect()) {
      outcome.error = errno;
      return outcome;
    }
    // A stream knows no end of a frame but its length: what is behind would be the next one.
    const std::uint32_t length = length_of(bytes);
    const bool whole = length >= kHeaderSize && length <= bytes.size() && length <= kMaxFrame;
    send_all(bytes, whole ? length : bytes.size());
    if (!whole) (void)::shutdown(fd_, SHUT_WR);
    outcome.reply = receive(kHeaderSize);
    if (outcome.reply.size() == kHeaderSize) {
      const std::uint32_t size = length_of(outcome.reply);
      if (size > kHeaderSize && size <= kMaxFrame) {
        const Frame rest = receive(size - kHeaderSize);
        outcome.reply.insert(outcome.reply.end(), rest.begin(), rest.end());
      }
    }
    if (!whole || outcome.reply.empty()) {
      outcome.ended = receive(1).empty();
      disconnect();
    }
    return outcome;
  }

  std::string judge(const Frame& sent, const Outcome& outcome) const override {
    if (outcome.error != 0) return std::string("cannot connect: ") + std::strerror(outcome.error);
    const std::uint32_t length = length_of(sent);
    const bool known = sent.size() >= kSizeEnd;
    if (known && (length < kHeaderSize || length > kMaxFrame)) {
      if (std::string why = malformed(outcome.reply); !why.empty()) return why;
      if (code_of(outcome.reply) != kRcCommandSize) return "a bad length got another answer";
      return outcome.ended ? "" : "the connection stayed after a bad length";
    }
    if (!known || sent.size() < length) {
      return outcome.reply.empty() && outcome.ended ? "" : "half a frame got an answer";
    }
    return malformed(outcome.reply);
  }

 private:
  void disconnect() {
    if (fd_ >= 0) (void)::close(fd_);
    fd_ = -1;
  }
  void send_all(const Frame& bytes, std::size_t size) const {
    for (std::size_t sent = 0; sent < size;) {
      const ssize_t n = ::send(fd_, bytes.data() + sent, size - sent, MSG_NOSIGNAL);
      if (n <= 0) return;  // refused in the middle: the answer is there to be read
      sent += static_cast<std::size_t>(n);
    }
  }
  [[nodiscard]] Frame receive(std::size_t size) const {
    Frame out(size);
    std::size_t have = 0;
    while (have < size) {
      const ssize_t n = ::recv(fd_, out.data() + have, size - have, 0);
      if (n <= 0) break;
      have += static_cast<std::size_t>(n);
    }
    out.resize(have);
    return out;
  }

  std::string path_;
  int fd_ = -1;
};

}  // namespace

std::uint16_t tag_of(const Frame& frame) { return static_cast<std::uint16_t>(be(frame, 0, 2)); }
std::uint32_t length_of(const Frame& frame) { return be(frame, 2, 4); }
std::uint32_t code_of(const Frame& frame) { return be(frame, 6, 4); }

std::string malformed(const Frame& reply) {
  if (reply.size() < kHeaderSize) return "a reply of " + std::to_string(reply.size()) + " bytes";
  if (length_of(reply) != reply.size()) return "the reply's length is not the one in its header";
  const std::uint16_t tag = tag_of(reply);
  if (tag != kTagNoSessions && tag != kTagSessions && tag != kTagRspCommand) {
    return "the reply's tag is " + std::to_string(tag);
  }
  if (code_of(reply) == 0) return tag == kTagRspCommand ? "success with an error's tag" : "";
  if (tag == kTagSessions) return "an error with sessions";
  return reply.size() == kHeaderSize ? "" : "an error with parameters";
}

std::unique_ptr<Node> open_device(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    (void)std::fprintf(stderr, "open %s: %s\n", path.c_str(), std::strerror(errno));
    return nullptr;
  }
  return std::make_unique<Device>(fd, path.find("tpmrm") != std::string::npos);
}

std::unique_ptr<Node> open_socket(const std::string& path) {
  auto node = std::make_unique<Socket>(path);
  if (!node->connect()) {
    (void)std::fprintf(stderr, "connect %s: %s\n", path.c_str(), std::strerror(errno));
    return nullptr;
  }
  return node;
}

}  // namespace edges
