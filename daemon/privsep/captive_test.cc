// SPDX-License-Identifier: Apache-2.0
// A worker that was taken over, by code of ours: forked by the real fork server, confined as every
// worker is, it goes for the host's files and sockets, another worker, and vtpmd.
//
// Each attempt is made three times: outside, by root, where it must succeed, or it would prove
// nothing; in a worker that has left the host and has all system calls, where it must fail; and in
// one that serves, where the filter kills it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/temporary_folder.h"
#include "privsep/fork_messages.h"
#include "privsep/fork_server.h"
#include "privsep/messages.h"
#include "privsep/rendezvous.h"
#include "privsep/sandbox.h"
#include "privsep/test_child.h"

namespace vtpm::privsep {
namespace {

// What there is to take. Captives inherit it by fork(), as a worker might know it.
struct Prey {
  std::string folder;      // of mode 0700: store.db, host.key, admin.sock
  std::string abstract;    // name of an abstract socket
  std::uint16_t port = 0;  // of 127.0.0.1
  int shared_memory = -1;
  pid_t vtpmd = 0;
  pid_t worker = 0;  // another one
};
Prey prey;

// A secret at the same address in every process here; the other worker alone fills it.
std::array<char, 16> secret{};
constexpr std::array<char, 16> kSecret{"a TPM's seed"};

bool opens(const std::string& path, int flags) {
  return UniqueFd(::open(path.c_str(), flags | O_CLOEXEC, 0600)).get() >= 0;
}
bool connects(const std::string& name, bool abstract) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + (abstract ? 1 : 0), sizeof address.sun_path - 2);
  const auto size = abstract ? sizeof(sa_family_t) + 1 + name.size() : sizeof address;
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), static_cast<socklen_t>(size)) ==
         0;
}
bool connects_by_ip() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(prey.port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}
bool reads_memory() {
  std::array<char, 16> got{};
  iovec here{got.data(), got.size()};
  iovec there{secret.data(), secret.size()};
  return ::process_vm_readv(prey.worker, &here, 1, &there, 1, 0) == 16 && got == kSecret;
}
bool reads_memory_file() {
  const UniqueFd fd(
      ::open(("/proc/" + std::to_string(prey.worker) + "/mem").c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 16> got{};
  return ::pread(fd.get(), got.data(), got.size(),
                 static_cast<off_t>(reinterpret_cast<std::uintptr_t>(secret.data()))) == 16 &&
         got == kSecret;
}
bool traces() {
  if (::ptrace(PTRACE_SEIZE, prey.worker, nullptr, nullptr) != 0) return false;
  (void)::ptrace(PTRACE_DETACH, prey.worker, nullptr, nullptr);
  return true;
}
bool takes_descriptor() {
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, prey.worker, 0)));
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd.get(), 2, 0))).get() >= 0;
}
bool attaches_shared_memory() {
  const void* at = ::shmat(prey.shared_memory, nullptr, SHM_RDONLY);
  return at != reinterpret_cast<void*>(-1);
}

struct Attempt {
  const char* what;
  std::function<bool()> succeeds;
};
const std::vector<Attempt>& attempts() {
  static const std::vector<Attempt> all{
      {"open the store", [] { return opens(prey.folder + "/store.db", O_RDWR); }},
      {"open the host key", [] { return opens(prey.folder + "/host.key", O_RDONLY); }},
      {"make a file", [] { return opens(prey.folder + "/new", O_WRONLY | O_CREAT); }},
      {"open the memory of vtpmd",
       [] { return opens("/proc/" + std::to_string(prey.vtpmd) + "/mem", O_RDWR); }},
      {"connect to the API", [] { return connects(prey.folder + "/admin.sock", false); }},
      {"connect to an abstract socket", [] { return connects(prey.abstract, true); }},
      {"connect to the host's network", connects_by_ip},
      {"read another worker's memory", reads_memory},
      {"read it from its file", reads_memory_file},
      {"trace another worker", traces},
      {"take a descriptor of another worker", takes_descriptor},
      {"signal another worker", [] { return ::kill(prey.worker, 0) == 0; }},
      {"signal vtpmd", [] { return ::kill(prey.vtpmd, 0) == 0; }},
      {"attach the host's shared memory", attaches_shared_memory},
      {"become root", [] { return ::setresuid(0, 0, 0) == 0; }},
  };
  return all;
}

// The whole life of a worker here: it is told what to be.
struct Order {
  enum class Role : std::uint8_t { victim, captive, serving_captive } role = Role::victim;
  std::uint32_t attempt = 0;
  pid_t victim = 0;
};

int captive(UniqueFd manager) {
  const auto told = receive_datagram(manager.get(), false);
  Order order;
  if (!told || told->bytes.size() != sizeof order) return 1;
  std::memcpy(&order, told->bytes.data(), sizeof order);
  prey.worker = order.victim;
  if (order.role == Order::Role::victim) secret = kSecret;
  if (order.role != Order::Role::captive && !enter_sandbox(NodeKind::socket)) return 1;
  const bool won = order.role != Order::Role::victim && attempts().at(order.attempt).succeeds();
  const std::array<std::byte, 1> answer{static_cast<std::byte>(won)};
  (void)send_datagram(manager.get(), answer);
  (void)receive_datagram(manager.get(), false);  // until the test hangs up
  return 0;
}

class Captive : public ::testing::Test {
 protected:
  Captive() {
    prey = {};
    prey.folder = folder_.path();
    prey.vtpmd = ::getpid();
    for (const char* name : {"/store.db", "/host.key"}) {
      write_file(prey.folder + name, "secret");
      EXPECT_EQ(::chmod((prey.folder + name).c_str(), 0600), 0);
    }
    prey.abstract = "vtpm-captive-" + std::to_string(prey.vtpmd);
    path_listener_ = listen(prey.folder + "/admin.sock", false);
    abstract_listener_ = listen(prey.abstract, true);
    ip_listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(ip_listener_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(ip_listener_.get(), 64), 0);
    ::getsockname(ip_listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    prey.port = ntohs(address.sin_port);
    prey.shared_memory = ::shmget(IPC_PRIVATE, 4096, 0666);
    EXPECT_GE(prey.shared_memory, 0);
    start_server();
  }
  ~Captive() override {
    stop_server();
    ::shmctl(prey.shared_memory, IPC_RMID, nullptr);
  }

  // A test that goes wrong shall fail and not hang.
  static void limit_wait(int socket) {
    const timeval limit{.tv_sec = 20, .tv_usec = 0};
    EXPECT_EQ(::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
  }

  // The real fork server, in a child. After a crash it execs the program of this test anew, with
  // these arguments and its own: pairs of a name and a value. That lists the tests and ends.
  void start_server() {
    std::array<int, 2> ready{};
    ASSERT_EQ(::pipe2(ready.data(), O_CLOEXEC), 0);
    const UniqueFd is_ready(ready[0]);
    UniqueFd tell_ready(ready[1]);
    const std::string path = rendezvous_ / "engine.sock";
    server_ = ::fork();
    if (server_ == 0) {
      std::string program = "privsep_test";
      std::string nothing = "--gtest_list_tests";
      std::string value = "-";
      std::array<char*, 4> argv{program.data(), nothing.data(), value.data(), nullptr};
      ::_exit(run_fork_server(
          {.socket_path = path, .manager = ::geteuid(), .ready_fd = tell_ready.get()},
          {.warm_up = [] { return Result<void>(); },
           .run_worker = captive,
           .release = "test",
           .filtered = false},
          argv.data()));
    }
    tell_ready.reset();
    char byte = 0;
    (void)!::read(is_ready.get(), &byte, 1);
    auto connected = connect_to_fork_server(path);
    ASSERT_TRUE(connected) << connected.error().message;
    control_ = *std::move(connected);
    limit_wait(control_.get());
    ASSERT_TRUE(receive_datagram(control_.get(), false)) << "no Welcome";
  }

  void stop_server() {
    control_.reset();
    ::kill(server_, SIGKILL);
    ::waitpid(server_, nullptr, 0);
  }

  struct Worker {
    pid_t pid = 0;
    UniqueFd socket;
    UniqueFd pidfd;
  };
  Worker fork_worker(const Order& order) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
    Worker worker{.pid = 0, .socket = UniqueFd(ends[0]), .pidfd = {}};
    limit_wait(ends[0]);
    const UniqueFd theirs(ends[1]);
    const std::array<int, 2> fds{theirs.get(), worker.socket.get()};
    ForkRequest request{.id = ++last_id_, .device = {}, .incarnation = 1};
    store_be64(request.device.bytes.data(), last_id_);  // a device has one worker
    EXPECT_TRUE(send_datagram(control_.get(), encode(ForkMessage{request}), fds));
    while (worker.pid == 0) {
      auto got = receive_datagram(control_.get(), false);
      const auto message = got ? decode_fork(got->bytes) : fail(ErrorCode::io, "nothing");
      if (!message) {
        ADD_FAILURE() << "the fork server makes no worker";
        return worker;
      }
      const auto* forked = std::get_if<Forked>(&*message);
      if (forked == nullptr) continue;  // a worker before has ended
      worker.pid = forked->pid;
      if (!got->descriptors.empty()) worker.pidfd = std::move(got->descriptors[0]);
    }
    EXPECT_TRUE(
        send_datagram(worker.socket.get(), std::as_bytes(std::span(&order, std::size_t{1}))));
    return worker;
  }
  // What the worker says of its attempt; -1: it died without a word.
  static int answer(const Worker& worker) {
    const auto got = receive_datagram(worker.socket.get(), false);
    return got && got->bytes.size() == 1 ? std::to_integer<int>(got->bytes[0]) : -1;
  }
  int death(pid_t pid) {
    for (;;) {
      const auto got = receive_datagram(control_.get(), false);
      const auto message = got ? decode_fork(got->bytes) : fail(ErrorCode::io, "nothing");
      if (!message) return -1;
      const auto* died = std::get_if<Died>(&*message);
      if (died != nullptr && died->pid == pid) return died->wait_status;
    }
  }

 private:
  static UniqueFd listen(const std::string& name, bool abstract) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name.copy(address.sun_path + (abstract ? 1 : 0), sizeof address.sun_path - 2);
    const auto size = abstract ? sizeof(sa_family_t) + 1 + name.size() : sizeof address;
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), static_cast<socklen_t>(size)),
              0);
    EXPECT_EQ(::listen(fd.get(), 64), 0);
    return fd;
  }

  TemporaryFolder folder_;
  TemporaryFolder rendezvous_;
  UniqueFd path_listener_, abstract_listener_, ip_listener_, control_;
  std::uint64_t last_id_ = 0;
  pid_t server_ = -1;
};

// In a child, for attempts that change who attempts.
bool succeeds_outside(const Attempt& attempt) {
  const auto attempting = [&attempt] {
    if (!attempt.succeeds()) ::_exit(1);
  };
  return testing::status_of(attempting) == 0;
}

TEST_F(Captive, what_root_can_do_a_worker_cannot) {
  if (::geteuid() != 0) return;  // nobody gives a worker another uid
  const Worker victim = fork_worker({.role = Order::Role::victim});
  ASSERT_EQ(answer(victim), 0);
  prey.worker = victim.pid;
  for (std::uint32_t i = 0; i < attempts().size(); ++i) {
    const Attempt& attempt = attempts()[i];
    EXPECT_TRUE(succeeds_outside(attempt)) << "this would prove nothing: " << attempt.what;
    const Worker worker =
        fork_worker({.role = Order::Role::captive, .attempt = i, .victim = victim.pid});
    EXPECT_EQ(answer(worker), 0) << "a worker without a filter may " << attempt.what;
  }
  pollfd alive{victim.pidfd.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&alive, 1, 0), 0) << "the other worker has not come through";
}

TEST_F(Captive, a_worker_that_serves_is_killed_for_trying) {
  if (::geteuid() != 0 || kSanitized) return;  // such a build has no filter
  for (std::uint32_t i = 0; i < attempts().size(); ++i) {
    const Worker victim = fork_worker({.role = Order::Role::victim});
    ASSERT_EQ(answer(victim), 0);
    const Worker worker =
        fork_worker({.role = Order::Role::serving_captive, .attempt = i, .victim = victim.pid});
    EXPECT_EQ(answer(worker), -1) << attempts()[i].what;
    const int status = death(worker.pid);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        << attempts()[i].what << ": status " << status;
    stop_server();  // it has crashed with its worker
    start_server();
  }
}

}  // namespace
}  // namespace vtpm::privsep
