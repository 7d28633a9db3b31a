// SPDX-License-Identifier: Apache-2.0
// For tests of the socket channel: a served channel in a thread, and plain blocking clients.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>

#include "channel/channel.h"
#include "frame/frame.h"

namespace vtpm::channel {

inline UniqueFd listen_on(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(::listen(fd.get(), 16), 0);
  return fd;
}

inline UniqueFd connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  timeval limit{.tv_sec = 10, .tv_usec = 0};  // a lost reply fails a test, it does not hang it
  EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return fd;
}

inline bool put(const UniqueFd& fd, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return true;
}
inline bool put_hex(const UniqueFd& fd, std::string_view hex) { return put(fd, *from_hex(hex)); }

// Exactly `size` bytes, or what came before the end.
inline Bytes get(const UniqueFd& fd, std::size_t size) {
  Bytes out(size);
  std::size_t have = 0;
  while (have < size) {
    const ssize_t n = ::recv(fd.get(), out.data() + have, size - have, 0);
    if (n <= 0) break;
    have += static_cast<std::size_t>(n);
  }
  out.resize(have);
  return out;
}
inline std::string get_hex(const UniqueFd& fd, std::size_t size) { return to_hex(get(fd, size)); }
// The peer has closed: nothing more comes. A time-out is not the end.
inline bool at_end(const UniqueFd& fd) {
  std::byte b{};
  const ssize_t n = ::recv(fd.get(), &b, 1, 0);
  return n == 0 || (n < 0 && errno == ECONNRESET);
}

// A frame of `size` bytes with the given length field.
inline Bytes make_frame(std::uint32_t length, std::size_t size) {
  Bytes frame;
  Writer(frame).u16(0x8001).u32(length).u32(0x17b);
  frame.resize(size, std::byte{0xa5});
  return frame;
}

// Reads one whole reply by its header; empty if the connection ended.
inline Bytes get_reply(const UniqueFd& fd) {
  Bytes reply = get(fd, frame::kHeaderSize);
  if (reply.size() != frame::kHeaderSize) return {};
  const std::uint32_t size = load_be32(reply.data() + 2);
  EXPECT_GE(size, frame::kHeaderSize);
  EXPECT_LE(size, frame::kMaxFrame);
  const Bytes rest = get(fd, size - frame::kHeaderSize);
  reply.insert(reply.end(), rest.begin(), rest.end());
  EXPECT_EQ(reply.size(), size);
  return reply;
}

// Serves a channel as a worker would. Reply to a frame: a successful header, then locality,
// sequence (8 bytes) and the frame itself as far as 4096 bytes allow.
class ServedSocket : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kFirstSequence = 41;

  ServedSocket() {
    std::string pattern = std::filesystem::temp_directory_path() / "channel-test-XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    manager_.reset(ends[0]);
    stop_.reset(ends[1]);
    channel_ = make_socket_channel(listen_on(data_path()), listen_on(control_path()),
                                   manager_.get(), kFirstSequence);
    thread_ = std::thread([this] { serve(); });
  }
  ~ServedSocket() override {
    stop_.reset();  // the manager hangs up
    thread_.join();
    std::filesystem::remove_all(directory_);
  }

  [[nodiscard]] std::string data_path() const { return directory_ + "/S"; }
  [[nodiscard]] std::string control_path() const { return directory_ + "/S.ctrl"; }
  [[nodiscard]] UniqueFd data() const { return connect_to(data_path()); }
  [[nodiscard]] UniqueFd control() const { return connect_to(control_path()); }

  // A 12-byte frame and its reply's locality; -1 if there was no good reply.
  static int ask(const UniqueFd& fd) {
    if (!put(fd, make_frame(12, 12))) return -1;
    const Bytes reply = get_reply(fd);
    if (reply.size() != 10 + 1 + 8 + 12 || frame::response_code(reply) != 0) return -1;
    return std::to_integer<int>(reply[10]);
  }

  std::atomic<int> frames_{0};
  std::atomic<int> inits_{0};
  std::atomic<int> resets_{0};
  std::atomic<int> reset_locality_{-1};
  std::atomic<bool> control_ok_{true};
  std::atomic<bool> established_{false};

 private:
  void serve() {
    Bytes bytes;
    Reply reply;
    bool owed = false;
    for (;;) {
      auto event = channel_->exchange(owed ? &reply : nullptr);
      owed = false;
      if (!event) {
        ADD_FAILURE() << event.error().message;
        return;
      }
      if (std::holds_alternative<Wake>(*event)) return;
      if (const auto* f = std::get_if<Frame>(&*event)) {
        EXPECT_EQ(f->sequence, kFirstSequence + static_cast<std::uint64_t>(++frames_));
        EXPECT_GE(f->bytes.size(), frame::kHeaderSize);
        EXPECT_EQ(load_be32(f->bytes.data() + 2), f->bytes.size());
        const std::size_t echo = std::min<std::size_t>(f->bytes.size(), frame::kMaxFrame - 19);
        bytes.clear();
        Writer(bytes)
            .u16(0x8001)
            .u32(static_cast<std::uint32_t>(19 + echo))
            .u32(0)
            .u8(f->locality)
            .u64(f->sequence)
            .bytes(f->bytes.first(echo));
        reply = {.sequence = f->sequence, .bytes = bytes};
        owed = true;
      } else if (const auto* c = std::get_if<Control>(&*event)) {
        EXPECT_FALSE(c->keep_volatile);
        if (c->kind == Control::Kind::init) ++inits_;
        if (c->kind == Control::Kind::reset_established) {
          ++resets_;
          reset_locality_ = c->locality;
        }
        EXPECT_TRUE(channel_->complete_control(control_ok_, established_));
      }
    }
  }

  std::string directory_;
  UniqueFd manager_;
  UniqueFd stop_;
  std::unique_ptr<Channel> channel_;
  std::thread thread_;
};

}  // namespace vtpm::channel
