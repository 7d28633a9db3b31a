// SPDX-License-Identifier: Apache-2.0
// For the tests of worker/: a real worker in a child process, whose manager is the test, and a
// client of its socket.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <array>
#include <csignal>
#include <cstring>
#include <optional>
#include <utility>

#include "base/temporary_folder.h"
#include "engine/engine.h"
#include "engine/test_commands.h"
#include "journal/journal.h"
#include "privsep/messages.h"
#include "worker/worker.h"

namespace vtpm::worker::testing {

using engine::testing::command;
using engine::testing::Parameters;
using engine::testing::Reply;

inline bool readable(int fd, int timeout_ms) {
  pollfd wait{fd, POLLIN, 0};
  return ::poll(&wait, 1, timeout_ms) == 1;
}

inline UniqueFd listen_on(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(::listen(fd.get(), 8), 0);
  return fd;
}

class Client {
 public:
  explicit Client(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0)
        << path;
  }
  void send(ByteView frame) const {
    EXPECT_EQ(::send(fd_.get(), frame.data(), frame.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(frame.size()));
  }
  [[nodiscard]] bool has_reply(int timeout_ms) const { return readable(fd_.get(), timeout_ms); }
  // rc 0xffffffff: the connection ended, or nothing came.
  [[nodiscard]] Reply reply() const {
    Bytes bytes;
    while (bytes.size() < 10 || bytes.size() < load_be32(bytes.data() + 2)) {
      std::array<std::byte, 4096> part{};
      if (!readable(fd_.get(), 20'000)) break;
      const ssize_t n = ::recv(fd_.get(), part.data(), part.size(), 0);
      if (n <= 0) break;
      bytes.insert(bytes.end(), part.begin(), part.begin() + n);
    }
    if (bytes.size() < 10) return {};
    return {load_be32(bytes.data() + 6), Bytes(bytes.begin() + 10, bytes.end())};
  }
  [[nodiscard]] Reply run(const Bytes& frame) const {
    send(frame);
    return reply();
  }
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
};

inline const Bytes kStartup = command(0x144, {}, 0, Parameters().u16(0).bytes);
inline Bytes extend(std::uint32_t pcr, std::uint8_t fill) {
  return command(0x182, {pcr}, 1,
                 Parameters().u32(1).u16(0x0b).raw(Bytes(32, std::byte{fill})).bytes);
}
inline Bytes read_pcr(std::uint8_t pcr) {
  Parameters p;
  p.u32(1).u16(0x0b).u8(3);
  for (unsigned i = 0; i < 3; i++)
    p.u8(static_cast<std::uint8_t>(pcr / 8U == i ? 1U << pcr % 8U : 0));
  return command(0x17e, {}, 0, p.bytes);
}
inline Bytes digest_of(const Reply& reply) {
  return reply.rc == 0 && reply.body.size() >= 32 ? Bytes(reply.body.end() - 32, reply.body.end())
                                                  : Bytes();
}
inline const Bytes kGetRandom = command(0x17b, {}, 0, Parameters().u16(32).bytes);
// An 8-byte ordinary index, owner's, with an empty authorization: permanent state changes.
inline Bytes define_space(std::uint32_t index) {
  Parameters area;
  area.u32(index).u16(0x0b).u32(0x00040004 | 0x2).u16(0).u16(8);
  return command(0x12a, {engine::testing::kOwner}, 1, Parameters().u16(0).sized(area.bytes).bytes);
}
inline const Bytes kClearControl =  // disable = NO, by the platform
    command(0x127, {engine::testing::kPlatform}, 1, Parameters().u8(0).bytes);

// A read-write device's first state, without keys.
inline const SecretBytes& manufactured() {
  static const SecretBytes state = [] {
    auto tpm = engine::testing::must_start({.origin = engine::Origin::fresh});
    return tpm->permanent().value();
  }();
  return state;
}

// The manager's side of one worker; each test drives it by hand.
class WorkerTest : public ::testing::Test {
 protected:
  WorkerTest() {
    auto folder = journal::Folder::open(folder_.path(), true);
    EXPECT_TRUE(folder);
    journals_.emplace(*std::move(folder));
    start_.device.bytes.fill(std::byte{5});
    start_.name = "test";
    start_.node = privsep::NodeKind::socket;
    start_.mode = privsep::DeviceMode::read_write;
    start_.kind = privsep::DeviceKind::container;
    start_.firmware = true;
    start_.checkpoint.permanent = manufactured();
    start_.checkpoint.boot_id.fill(std::byte{1});
    start_.checkpoint.incarnation = 1;
  }
  ~WorkerTest() override {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }

  // Forks the worker and sends Start; `sockets` false: a descriptor too few.
  void launch(bool sockets = true) {
    // As the fork server: a worker has no call left by which it could make the blank state.
    if (warm_) {
      static const bool warm = engine::Engine::warm_up().has_value();
      ASSERT_TRUE(warm);
    }
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
    manager_.reset(ends[0]);
    UniqueFd theirs(ends[1]);
    const journal::Header header{.device = start_.device,
                                 .boot_id = start_.checkpoint.boot_id,
                                 .power_id = {},
                                 .incarnation = start_.checkpoint.incarnation};
    auto journal = journals_->create(header, &start_.checkpoint);
    ASSERT_TRUE(journal) << journal.error().message;
    for (const char* name : {"/s", "/s.ctrl"}) ::unlink((folder_.path() + name).c_str());
    const UniqueFd data = listen_on(data_path());
    const UniqueFd control = listen_on(data_path() + ".ctrl");
    pid_ = ::fork();
    if (pid_ == 0) {
      manager_.reset();
      ::_exit(worker::run(std::move(theirs)));
    }
    std::vector<int> fds{data.get()};
    if (!start_.failed) fds.insert(fds.begin(), journal->get());
    if (sockets) fds.push_back(control.get());
    ASSERT_TRUE(privsep::send_datagram(manager_.get(), encode(privsep::Message{start_}), fds));
  }
  template <class T>
  T expect() {
    auto message = next();
    if (!message || !std::holds_alternative<T>(*message)) {
      ADD_FAILURE() << "another message than expected: "
                    << (message ? static_cast<int>(message->index()) : -1);
      if (message && std::holds_alternative<privsep::Failed>(*message))
        ADD_FAILURE() << std::get<privsep::Failed>(*message).reason;
      return {};
    }
    return std::get<T>(*std::move(message));
  }
  // nullopt: the worker has closed its end, or says nothing.
  std::optional<privsep::Message> next() {
    if (!readable(manager_.get(), 30'000)) return std::nullopt;
    auto got = privsep::receive_datagram(manager_.get(), false);
    if (!got || got->bytes.empty()) return std::nullopt;
    auto message = privsep::decode(got->bytes);
    EXPECT_TRUE(message);
    return message ? std::optional(*std::move(message)) : std::nullopt;
  }
  void tell(const privsep::Message& message) {
    EXPECT_TRUE(privsep::send_datagram(manager_.get(), encode(message)));
  }
  // Answers as a store would, and remembers what it holds.
  Checkpoint grant() {
    auto commit = expect<privsep::Commit>();
    tell(privsep::Committed{commit.checkpoint.sequence, commit.checkpoint.permanent_version});
    return stored_ = std::move(commit.checkpoint);
  }
  // One command; commits that it needs are granted.
  Reply run(const Client& client, const Bytes& frame) {
    client.send(frame);
    for (int i = 0; i < 400 && !client.has_reply(0); i++)
      if (readable(manager_.get(), 50)) grant();
    return client.reply();
  }
  // Serves commits until the worker is ready.
  void ready() {
    for (int i = 0; i < 5; i++) {
      auto message = next();
      ASSERT_TRUE(message);
      if (std::holds_alternative<privsep::Ready>(*message)) return;
      const auto* commit = std::get_if<privsep::Commit>(&*message);
      ASSERT_NE(commit, nullptr);
      tell(privsep::Committed{commit->checkpoint.sequence, commit->checkpoint.permanent_version});
      stored_ = commit->checkpoint;
    }
    ADD_FAILURE() << "the worker commits and commits";
  }
  int status() {
    int result = -1;
    for (int i = 0; i < 300; i++) {
      if (::waitpid(pid_, &result, WNOHANG) == pid_) {
        pid_ = 0;
        return result;
      }
      ::usleep(50'000);
    }
    ADD_FAILURE() << "the worker does not end";
    return -1;
  }
  void kill_worker() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  Checkpoint newest() {
    auto found = journals_->read(start_.device);
    if (!found || !*found || !(*found)->newest) {
      ADD_FAILURE() << "no checkpoint in the journal";
      return {};
    }
    return *(*found)->newest;
  }
  // What the manager would resume from: the journal, with the store's permanent state.
  void resume_from(Checkpoint checkpoint) {
    if (checkpoint.permanent.empty()) checkpoint.permanent = stored_.permanent;
    checkpoint.incarnation++;
    start_.checkpoint = std::move(checkpoint);
  }
  [[nodiscard]] std::string data_path() const { return folder_.path() + "/s"; }

  TemporaryFolder folder_;
  std::optional<journal::Folder> journals_;
  privsep::Start start_;
  UniqueFd manager_;
  pid_t pid_ = 0;
  bool warm_ = true;
  Checkpoint stored_;
};

}  // namespace vtpm::worker::testing
