// SPDX-License-Identifier: Apache-2.0
// The fork server for real: this program is its own engine, with a worker that does as it is told.
#include "privsep/fork_server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <functional>

#include "base/temporary_folder.h"
#include "privsep/fork_messages.h"
#include "privsep/messages.h"
#include "privsep/rendezvous.h"

namespace vtpm::privsep {
namespace {

// Other than the standard ones and the manager's socket.
bool extra_descriptors(int manager) {
  for (int fd = 3; fd < 64; fd++)
    if (fd != manager && ::fcntl(fd, F_GETFD) >= 0) return true;
  return false;
}

// One byte tells the worker what to do: 'e' N exit, 's' N die of signal N, 'w' say who it is, 'h'
// harden itself and say how.
int obedient_worker(UniqueFd manager) {
  for (;;) {
    const auto order = receive_datagram(manager.get(), false);
    if (!order || order->bytes.empty()) return 5;
    const auto what = std::to_integer<char>(order->bytes[0]);
    const int n = order->bytes.size() > 1 ? std::to_integer<int>(order->bytes[1]) : 0;
    if (what == 'e') return n;
    if (what == 's') {
      ::signal(n, SIG_DFL);
      ::raise(n);
    }
    Bytes out;
    if (what == 'w') {
      // AT_RANDOM: 16 bytes that each exec draws anew, and forks share.
      const auto* random = reinterpret_cast<const std::byte*>(::getauxval(AT_RANDOM));
      Writer(out).u32(static_cast<std::uint32_t>(::getppid())).bytes({random, 16});
      sigset_t blocked;
      ::sigprocmask(SIG_BLOCK, nullptr, &blocked);
      Writer(out).u8(static_cast<std::uint8_t>(::sigismember(&blocked, SIGCHLD)));
      Writer(out).u8(extra_descriptors(manager.get()));
    } else if (what == 'h') {
      rlimit core{1, 1};
      const bool hard = harden_worker() && ::getrlimit(RLIMIT_CORE, &core) == 0;
      Writer(out).u8(hard && core.rlim_cur == 0 && core.rlim_max == 0);
      Writer(out).u8(::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 &&
                     ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    }
    (void)send_datagram(manager.get(), out);
  }
}

struct Worker {
  UniqueFd socket;
  UniqueFd pidfd;
  pid_t pid = 0;
  Bytes ask(std::string_view order) const {
    EXPECT_TRUE(send_datagram(socket.get(), as_bytes(order)));
    if (order[0] == 'e' || order[0] == 's') return {};
    const auto answer = receive_datagram(socket.get(), false);
    return answer ? to_bytes(answer->bytes) : Bytes();
  }
};

bool readable(int fd, int timeout_ms = 20'000) {
  pollfd wait{fd, POLLIN, 0};
  int n = 0;
  do {
    n = ::poll(&wait, 1, timeout_ms);
  } while (n < 0 && errno == EINTR);
  return n == 1;
}

// A manager's end; the test is the manager.
class ForkServer : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = spawn_fork_server("/proc/self/exe", socket_path());
    ASSERT_TRUE(started) << started.error().message;
    server_ = *started;
    connect();
    ASSERT_EQ(inherited_.size(), 0U);
  }
  ~ForkServer() override {
    if (server_ <= 0) return;
    ::kill(server_, SIGTERM);
    ::waitpid(server_, nullptr, 0);
  }
  [[nodiscard]] std::string socket_path() const { return folder_ / "engine.sock"; }

  struct Heard {
    Inherited told;
    std::vector<UniqueFd> descriptors;
  };
  void connect() {
    auto connected = connect_to_fork_server(socket_path());
    ASSERT_TRUE(connected) << connected.error().message;
    control_ = *std::move(connected);
    inherited_.clear();
    std::vector<UniqueFd> descriptors;
    const ForkMessage first = next(&descriptors);
    const auto* welcome = std::get_if<Welcome>(&first);
    ASSERT_NE(welcome, nullptr);
    ASSERT_EQ(descriptors.size(), 1U);
    EXPECT_EQ(welcome->protocol, kForkProtocol);
    EXPECT_EQ(welcome->pid, server_);
    EXPECT_EQ(welcome->release, "test");
    pidfd_ = std::move(descriptors[0]);
    for (std::uint32_t i = 0; i < welcome->workers; i++) {
      Heard heard;
      const ForkMessage message = next(&heard.descriptors);
      ASSERT_TRUE(std::holds_alternative<Inherited>(message));
      heard.told = std::get<Inherited>(message);
      inherited_.push_back(std::move(heard));
    }
  }
  // The manager dies: its descriptors close.
  void leave() {
    control_.reset();
    inherited_.clear();
  }
  ForkMessage next(std::vector<UniqueFd>* descriptors = nullptr) {
    if (!readable(control_.get())) {
      ADD_FAILURE() << "the fork server says nothing";
      return End{};
    }
    auto got = receive_datagram(control_.get(), false);
    EXPECT_TRUE(got);
    auto message = decode_fork(got->bytes);
    EXPECT_TRUE(message);
    if (descriptors != nullptr) *descriptors = std::move(got->descriptors);
    return message ? *message : ForkMessage{End{}};
  }
  void say(const ForkMessage& message) {
    EXPECT_TRUE(send_datagram(control_.get(), encode(message)));
  }
  static Uuid device(std::uint64_t id) {
    Uuid uuid;
    store_be64(uuid.bytes.data(), id);
    return uuid;
  }
  Worker fork_one(std::uint64_t id) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
    Worker worker;
    worker.socket.reset(ends[0]);
    const UniqueFd theirs(ends[1]);
    const std::array<int, 3> fds{theirs.get(), worker.socket.get(), STDERR_FILENO};
    EXPECT_TRUE(send_datagram(control_.get(),
                              encode(ForkMessage{ForkRequest{id, device(id), id + 100}}), fds));
    std::vector<UniqueFd> descriptors;
    const ForkMessage answer = next(&descriptors);
    const auto* forked = std::get_if<Forked>(&answer);
    if (forked == nullptr || descriptors.size() != 1) {
      ADD_FAILURE() << "no Forked with one descriptor";
      return worker;
    }
    EXPECT_EQ(forked->id, id);
    EXPECT_EQ(forked->error, 0);
    worker.pid = forked->pid;
    worker.pidfd = std::move(descriptors[0]);
    return worker;
  }
  int status_of(const Worker& worker) {
    const ForkMessage message = next();
    const auto* died = std::get_if<Died>(&message);
    EXPECT_NE(died, nullptr);
    if (died == nullptr) return -1;
    EXPECT_EQ(died->pid, worker.pid);
    EXPECT_TRUE(readable(worker.pidfd.get(), 0)) << "told dead before it was";
    return died->wait_status;
  }
  int wait_for_server() {
    int status = -1;
    EXPECT_TRUE(readable(pidfd_.get()));
    EXPECT_EQ(::waitpid(server_, &status, 0), server_);
    server_ = 0;
    return status;
  }
  bool closed() {
    const auto got = receive_datagram(control_.get(), false);
    return !got || got->bytes.empty();
  }
  TemporaryFolder folder_;
  pid_t server_ = 0;
  UniqueFd control_;
  UniqueFd pidfd_;
  std::vector<Heard> inherited_;
};

TEST_F(ForkServer, TellsHowEachWorkerDied) {
  std::uint64_t id = 10;
  for (const int code : {0, 1, 70, 255}) {
    const Worker worker = fork_one(id++);
    worker.ask(std::string{'e', static_cast<char>(code)});
    const int status = status_of(worker);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), code);
  }
  for (const int signal : {SIGKILL, SIGTERM, SIGSEGV, SIGABRT}) {
    const Worker worker = fork_one(id++);
    worker.ask(std::string{'s', static_cast<char>(signal)});
    const int status = status_of(worker);
    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), signal);
  }
}

TEST_F(ForkServer, WorkersAreItsChildrenWithoutItsSocketsOrSignalMask) {
  const Worker worker = fork_one(1);
  const Bytes who = worker.ask("w");
  ASSERT_EQ(who.size(), 22U);
  EXPECT_EQ(load_be32(who.data()), static_cast<std::uint32_t>(server_));
  EXPECT_EQ(who[20], std::byte{0}) << "SIGCHLD is blocked in the worker";
  EXPECT_EQ(who[21], std::byte{0}) << "the worker holds a descriptor of the server";
}

TEST_F(ForkServer, ACrashGivesTheNextWorkerAnotherLayoutAndTheSameServer) {
  const Worker bystander = fork_one(1);
  const Bytes before = bystander.ask("w");
  const Worker killed = fork_one(2);
  EXPECT_EQ(killed.ask("w"), before);
  killed.ask(std::string{'s', static_cast<char>(SIGKILL)});
  EXPECT_EQ(status_of(killed), SIGKILL);
  const Worker same = fork_one(3);
  EXPECT_EQ(same.ask("w"), before) << "a kill from outside must not cost an exec";

  same.ask(std::string{'s', static_cast<char>(SIGSEGV)});
  EXPECT_TRUE(is_crash(status_of(same)));
  const Worker after = fork_one(4);
  const Bytes layout = after.ask("w");
  ASSERT_EQ(layout.size(), before.size());
  EXPECT_EQ(load_be32(layout.data()), static_cast<std::uint32_t>(server_));
  EXPECT_NE(layout, before);

  // Workers that were there go on, and their deaths are still told.
  EXPECT_EQ(bystander.ask("w"), before);
  bystander.ask(std::string("e\x09"));
  const int status = status_of(bystander);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 9);
}

TEST_F(ForkServer, TheNextManagerInheritsTheWorkersWithWhatWasKeptForIt) {
  std::vector<Worker> workers;
  for (std::uint64_t id = 1; id <= 3; id++) workers.push_back(fork_one(id));
  const Bytes before = workers[1].ask("w");
  // One is told something that nobody will read, and dies while no manager is there.
  const pid_t dead = workers[0].pid;
  leave();
  EXPECT_TRUE(send_datagram(workers[0].socket.get(), as_bytes("w")));
  EXPECT_TRUE(readable(workers[0].socket.get()));
  workers[0].ask("e\x07");
  EXPECT_TRUE(readable(workers[0].pidfd.get()));
  workers.clear();  // as if this process had died: the workers must not see it
  connect();
  ASSERT_EQ(inherited_.size(), 3U);
  for (Heard& heard : inherited_) {
    ASSERT_EQ(heard.descriptors.size(), 3U) << "socket, pidfd, and what belongs to its node";
    EXPECT_EQ(heard.told.dead, heard.told.pid == dead);
    const std::uint64_t id = load_be64(heard.told.device.bytes.data());
    EXPECT_EQ(heard.told.incarnation, id + 100);
    EXPECT_EQ(heard.told.device, device(id));
    EXPECT_EQ(readable(heard.descriptors[1].get(), 0), heard.told.dead);
    if (heard.told.dead) {
      EXPECT_EQ(WEXITSTATUS(heard.told.wait_status), 7);
      const auto last_words = receive_datagram(heard.descriptors[0].get(), true);
      ASSERT_TRUE(last_words);
      EXPECT_EQ(last_words->bytes.size(), 22U);
    } else if (id == 2) {
      EXPECT_TRUE(send_datagram(heard.descriptors[0].get(), as_bytes("w")));
      const auto said = receive_datagram(heard.descriptors[0].get(), false);
      ASSERT_TRUE(said);
      EXPECT_EQ(to_bytes(said->bytes), before) << "it is another process";
    }
  }
  leave();
  connect();
  EXPECT_EQ(inherited_.size(), 2U) << "a death is told once";
}

TEST_F(ForkServer, WhatItKnowsPassesThroughItsExec) {
  const Worker one = fork_one(1);
  const Worker two = fork_one(2);
  leave();
  two.ask(std::string{'s', static_cast<char>(SIGSEGV)});
  EXPECT_TRUE(readable(two.pidfd.get()));
  connect();  // waits for the exec
  ASSERT_EQ(inherited_.size(), 2U);
  for (const Heard& heard : inherited_) {
    EXPECT_EQ(heard.descriptors.size(), 3U);
    EXPECT_EQ(heard.told.dead, heard.told.pid == two.pid);
    if (heard.told.dead) {
      EXPECT_TRUE(is_crash(heard.told.wait_status));
    }
  }
  EXPECT_EQ(load_be32(one.ask("w").data()), static_cast<std::uint32_t>(server_));
}

TEST_F(ForkServer, OneManagerAtATime) {
  const auto second = connect_to_fork_server(socket_path());
  ASSERT_TRUE(second);
  ASSERT_TRUE(readable(second->get()));
  const auto told = receive_datagram(second->get(), false);
  ASSERT_TRUE(told);
  const auto message = decode_fork(told->bytes);
  ASSERT_TRUE(message && std::holds_alternative<Busy>(*message));
  EXPECT_EQ(std::get<Busy>(*message).pid, ::getpid());
  const auto end = receive_datagram(second->get(), false);
  EXPECT_TRUE(!end || end->bytes.empty());
  fork_one(1).ask("w");  // the first one is served as before
}

TEST_F(ForkServer, ARequestOfAManagerThatDiedIsDoneForTheNextOne) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
  const UniqueFd ours(ends[0]);
  const UniqueFd theirs(ends[1]);
  ::kill(server_, SIGSTOP);
  const std::array<int, 2> fds{theirs.get(), ours.get()};
  EXPECT_TRUE(
      send_datagram(control_.get(), encode(ForkMessage{ForkRequest{1, device(1), 5}}), fds));
  leave();
  ::kill(server_, SIGCONT);
  connect();
  ASSERT_EQ(inherited_.size(), 1U);
  EXPECT_FALSE(inherited_[0].told.dead);
}

TEST_F(ForkServer, ADeviceHasOneWorker) {
  const Worker one = fork_one(1);
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
  const UniqueFd ours(ends[0]);
  const UniqueFd theirs(ends[1]);
  const std::array<int, 2> fds{theirs.get(), ours.get()};
  EXPECT_TRUE(
      send_datagram(control_.get(), encode(ForkMessage{ForkRequest{9, device(1), 6}}), fds));
  const ForkMessage answer = next();
  ASSERT_TRUE(std::holds_alternative<Forked>(answer));
  EXPECT_EQ(std::get<Forked>(answer).pid, 0);
  EXPECT_EQ(std::get<Forked>(answer).error, EBUSY);
}

TEST_F(ForkServer, KillsItsWorkersAndNobodyElse) {
  const Worker worker = fork_one(1);
  say(Kill{::getpid()});
  say(Kill{1});
  say(Kill{-1});
  say(Kill{worker.pid});
  EXPECT_EQ(status_of(worker), SIGKILL);
  say(Kill{worker.pid});
  fork_one(2).ask("w");
}

TEST_F(ForkServer, EndsWithItsWorkersWhenItIsTold) {
  for (const bool by_signal : {false, true}) {
    if (by_signal) SetUp();
    const Worker one = fork_one(1);
    const Worker two = fork_one(2);
    EXPECT_FALSE(readable(one.pidfd.get(), 50));
    if (by_signal)
      ::kill(server_, SIGTERM);
    else
      say(End{});
    const int status = wait_for_server();
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
    EXPECT_TRUE(readable(one.pidfd.get(), 0));
    EXPECT_TRUE(readable(two.pidfd.get(), 0));
    EXPECT_NE(::access(socket_path().c_str(), F_OK), 0);
  }
}

TEST_F(ForkServer, WorkersDieWithAServerThatIsKilledAndTheNextOneWaitsForThem) {
  const Worker worker = fork_one(1);
  worker.ask("w");
  ::kill(server_, SIGKILL);
  wait_for_server();
  auto next_server = spawn_fork_server("/proc/self/exe", socket_path());
  ASSERT_TRUE(next_server) << next_server.error().message;
  server_ = *next_server;
  EXPECT_TRUE(readable(worker.pidfd.get(), 0)) << "a server serves while a worker of another lives";
}

TEST_F(ForkServer, WhatIsNoRequestCostsTheManagerItsConnection) {
  const Worker worker = fork_one(1);
  const std::vector<std::function<void()>> nonsense{
      [this] { say(Died{1, 2}); },
      [this] { say(ForkRequest{1, {}, 1}); },  // without its sockets
      [this] { EXPECT_TRUE(send_datagram(control_.get(), as_bytes("x"))); },
  };
  for (const auto& talk : nonsense) {
    talk();
    EXPECT_TRUE(closed());
    connect();
    EXPECT_EQ(inherited_.size(), 1U) << "its worker goes on";
  }
  worker.ask("w");
}

TEST_F(ForkServer, ManyWorkersAtOnce) {
  std::vector<Worker> workers;
  for (std::uint64_t id = 0; id < 20; id++) workers.push_back(fork_one(id));
  for (const Worker& worker : workers) worker.ask(std::string("e\0", 2));
  std::vector<pid_t> dead;
  for (std::size_t i = 0; i < workers.size(); i++) {
    const ForkMessage message = next();
    ASSERT_TRUE(std::holds_alternative<Died>(message));
    dead.push_back(std::get<Died>(message).pid);
  }
  std::ranges::sort(dead);
  EXPECT_EQ(std::ranges::unique(dead).size(), 0U);
  for (const Worker& worker : workers) EXPECT_TRUE(std::ranges::binary_search(dead, worker.pid));
}

TEST_F(ForkServer, AHardenedWorkerLeavesNoCore) {
  const Worker worker = fork_one(1);
  EXPECT_EQ(worker.ask("h"), (Bytes{std::byte{1}, std::byte{1}}));
}

TEST_F(ForkServer, ASecondOneOnTheSameSocketIsRefused) {
  const auto second = spawn_fork_server("/proc/self/exe", socket_path());
  ASSERT_FALSE(second);
  fork_one(1).ask("w");  // the first one's socket is still its own
}

TEST(SpawnForkServer, AProgramThatIsNotThereIsAnErrorWithAHint) {
  const auto started = spawn_fork_server("/nonexistent/vtpm-engine", "/nonexistent/s");
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("/nonexistent/vtpm-engine"), std::string::npos);
  EXPECT_FALSE(started.error().hint.empty());
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a zombie is left";
}

}  // namespace
}  // namespace vtpm::privsep

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--socket") == 0) {
    const auto options = vtpm::privsep::parse_fork_server_options(argc, argv);
    if (!options) return 64;
    return vtpm::privsep::run_fork_server(*options,
                                          {.warm_up = [] { return vtpm::Result<void>(); },
                                           .run_worker = vtpm::privsep::obedient_worker,
                                           .release = "test",
                                           .filtered = false},
                                          argv);
  }
  // The children of a sanitizer build: their deaths are what is tested, not their leaks.
  ::setenv("ASAN_OPTIONS", "detect_leaks=0", 0);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
