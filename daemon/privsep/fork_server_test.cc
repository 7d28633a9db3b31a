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

namespace vtpm::privsep {
namespace {

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
      Writer(out).u8(::fcntl(3, F_GETFD) >= 0 && manager.get() != 3);
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

class ForkServer : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = spawn_fork_server("/proc/self/exe");
    ASSERT_TRUE(started) << started.error().message;
    server_ = *std::move(started);
    ASSERT_TRUE(server_.pidfd);
  }
  ~ForkServer() override {
    server_.control.reset();
    if (server_.pid > 0) ::waitpid(server_.pid, nullptr, 0);
  }
  ForkMessage next(std::vector<UniqueFd>* descriptors = nullptr) {
    if (!readable(server_.control.get())) {
      ADD_FAILURE() << "the fork server says nothing";
      return Died{};
    }
    auto got = receive_datagram(server_.control.get(), false);
    EXPECT_TRUE(got);
    auto message = decode_fork(got->bytes);
    EXPECT_TRUE(message);
    if (descriptors != nullptr) *descriptors = std::move(got->descriptors);
    return message ? *message : ForkMessage{Died{}};
  }
  Worker fork_one(std::uint64_t id) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
    Worker worker;
    worker.socket.reset(ends[0]);
    const UniqueFd theirs(ends[1]);
    const std::array<int, 1> fds{theirs.get()};
    EXPECT_TRUE(send_datagram(server_.control.get(), encode(ForkMessage{ForkRequest{id}}), fds));
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
    EXPECT_TRUE(readable(server_.pidfd.get()));
    EXPECT_EQ(::waitpid(server_.pid, &status, 0), server_.pid);
    server_.pid = 0;
    return status;
  }
  ForkServerProcess server_;
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

TEST_F(ForkServer, WorkersAreItsChildrenWithoutItsControlSocketOrSignalMask) {
  const Worker worker = fork_one(1);
  const Bytes who = worker.ask("w");
  ASSERT_EQ(who.size(), 22U);
  EXPECT_EQ(load_be32(who.data()), static_cast<std::uint32_t>(server_.pid));
  EXPECT_EQ(who[20], std::byte{0}) << "SIGCHLD is blocked in the worker";
  EXPECT_EQ(who[21], std::byte{0}) << "the worker holds the control socket";
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
  EXPECT_EQ(load_be32(layout.data()), static_cast<std::uint32_t>(server_.pid));
  EXPECT_NE(layout, before);

  // Workers that were there go on, and their deaths are still told.
  EXPECT_EQ(bystander.ask("w"), before);
  bystander.ask(std::string("e\x09"));
  const int status = status_of(bystander);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 9);
}

TEST_F(ForkServer, EndsAndTakesItsWorkersAlongWhenTheManagerCloses) {
  const Worker one = fork_one(1);
  const Worker two = fork_one(2);
  EXPECT_FALSE(readable(one.pidfd.get(), 50));
  server_.control.reset();
  const int status = wait_for_server();
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(readable(one.pidfd.get()));
  EXPECT_TRUE(readable(two.pidfd.get()));
}

TEST_F(ForkServer, WorkersDieWithAServerThatIsKilled) {
  const Worker worker = fork_one(1);
  worker.ask("w");
  ::kill(server_.pid, SIGKILL);
  wait_for_server();
  EXPECT_TRUE(readable(worker.pidfd.get()));
}

TEST_F(ForkServer, WhatIsNoRequestEndsIt) {
  ASSERT_TRUE(send_datagram(server_.control.get(), encode(ForkMessage{Died{1, 2}})));
  EXPECT_EQ(WEXITSTATUS(wait_for_server()), 76);
}

TEST_F(ForkServer, ARequestWithoutItsSocketEndsIt) {
  ASSERT_TRUE(send_datagram(server_.control.get(), encode(ForkMessage{ForkRequest{1}})));
  EXPECT_EQ(WEXITSTATUS(wait_for_server()), 76);
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

TEST(SpawnForkServer, AProgramThatIsNotThereIsAnErrorWithAHint) {
  const auto started = spawn_fork_server("/nonexistent/vtpm-engine");
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("/nonexistent/vtpm-engine"), std::string::npos);
  EXPECT_FALSE(started.error().hint.empty());
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a zombie is left";
}

}  // namespace
}  // namespace vtpm::privsep

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--fork-server") == 0)
    return vtpm::privsep::run_fork_server(vtpm::UniqueFd(3),
                                          {.warm_up = [] { return vtpm::Result<void>(); },
                                           .run_worker = vtpm::privsep::obedient_worker},
                                          argv);
  // The children of a sanitizer build: their deaths are what is tested, not their leaks.
  ::setenv("ASAN_OPTIONS", "detect_leaks=0", 0);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
