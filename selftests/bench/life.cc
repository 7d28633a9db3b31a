// SPDX-License-Identifier: Apache-2.0
// bench-life: how long vtpmd takes for what it does with devices.
//
//   bench-life --socket ADMIN.SOCK [--clock FILE] [--node kernel|socket] [--rounds N] lives
//       N times, one after the other: a device is created, started, used, parked and woken, gets an
//       identity, is cloned, rolled back to a snapshot, stopped and deleted. {"step": [[us, us of
//       it in syncs, syncs], ...], ...}
//   bench-life ... --devices N --clients N [--mode read-only|read-write] storm
//       N devices are created, started and used by so many clients at once, and stay on.
//       {"seconds": s, "each": [us, ...]}
//   bench-life ... wakes
//       All devices are parked, then woken by one command each in random order, and hold what they
//       held. {"each": [us, ...]}
//   bench-life ... --devices N clones
//       A device is cloned N times, one after the other, while a client extends a PCR of it. How
//       long a command of the client took before that, the slowest one during each clone, and how
//       long each clone took until it was on. {"quiet": [us, ...], "pause": [us, ...], "clone":
//       [us, ...]}
//
// Exit status: 0 measured, 1 something failed, 2 wrong use.
#include "life.h"

#include <fmt/format.h>
#include <getopt.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "base/unique_fd.h"
#include "manager.h"
#include "work.h"

namespace bench {
namespace {

class Steps {
 public:
  explicit Steps(const SyncClock& clock) : clock_(clock) {}
  // Times `act` under this name.
  void time(const std::string& name, const std::function<void()>& act) {
    const SyncClock::Reading before = clock_.now();
    const double us = microseconds(act);
    const SyncClock::Reading after = clock_.now();
    if (!times_.contains(name)) order_.push_back(name);
    times_[name].push_back({us, after.microseconds - before.microseconds,
                            static_cast<double>(after.syncs - before.syncs)});
  }
  void print() const {
    const char* next = "{";
    for (const std::string& name : order_) {
      (void)std::printf("%s\"%s\": [", std::exchange(next, ",\n"), name.c_str());
      const char* comma = "";
      for (const Time& t : times_.at(name))
        (void)std::printf("%s[%.1f, %.1f, %.0f]", std::exchange(comma, ", "), t.us, t.syncing,
                          t.syncs);
      (void)std::fputc(']', stdout);
    }
    (void)std::puts("}");
  }

 private:
  struct Time {
    double us, syncing, syncs;
  };
  const SyncClock& clock_;
  std::vector<std::string> order_;
  std::map<std::string, std::vector<Time>> times_;
};

void answers(const v1::Device& device) { (void)must(*open_device(device), pcr_read()); }

// Its successor goes on as after a park, but for the death that vtpmd has to hear of. A client of a
// socket has to connect again.
void replace(Manager& manager, Steps& steps, const v1::Device& device) {
  const auto worker = static_cast<pid_t>(manager.show(device.name()).worker_pid());
  const vtpm::UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, worker, 0)));
  if (!pidfd) die_errno("the worker");
  std::unique_ptr<Subject> open;
  if (device.node() == v1::KERNEL) open = open_device(device);
  steps.time("its worker is killed, next reply", [&] {
    if (::kill(worker, SIGKILL) != 0) die_errno("the worker");
    pollfd death{pidfd.get(), POLLIN, 0};
    if (::poll(&death, 1, -1) != 1) die_errno("the worker's death");
    if (!open) open = open_device(device);
    (void)must(*open, pcr_read());
  });
}

void park_and_wake(Manager& manager, Steps& steps, const std::string& kind,
                   const v1::Device& device) {
  auto open = open_device(device);
  (void)must(*open, pcr_extend());
  const Bytes held = must(*open, pcr_read());
  // On a socket it is parked while nobody is connected.
  if (device.node() == v1::SOCKET) open.reset();
  steps.time(kind + " parks", [&] { (void)manager.park(device.name()); });
  steps.time(kind + " wakes and answers", [&] {
    if (!open) open = open_device(device);
    if (must(*open, pcr_read()) != held) die("a PCR changed while the device was parked");
  });
  // It may have answered before vtpmd has heard that it is on, or who serves it.
  for (v1::Device now = manager.show(device.name()); now.state() != v1::ON || now.worker_pid() == 0;
       now = manager.show(device.name()))
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

void clone(Manager& manager, Steps& steps, const std::string& what, const std::string& source,
           v1::Mode mode) {
  const auto request = clone_request_for(source, "clone-of-" + source, mode);
  steps.time(what + ", started, first reply", [&] { answers(manager.clone(request)); });
  manager.stop(request.name());
  manager.remove(request.name());
}

// It is stopped in between, as a rollback wants it, and on again at the end. What it was goes.
void go_back(Manager& manager, Steps& steps, const std::string& name) {
  const std::string snapshot = name + "@before";
  steps.time("snapshot of a read-write device that is on", [&] { manager.snapshot(snapshot); });
  manager.stop(name);
  steps.time("read-write rolled back, started, first reply", [&] {
    manager.roll_back(snapshot);
    answers(manager.start(name));
  });
  manager.remove(snapshot);
  manager.remove(name + ".retired-1");
}

void end(Manager& manager, Steps& steps, const std::string& kind, const std::string& name) {
  steps.time(kind + " is stopped", [&] { manager.stop(name); });
  steps.time(kind + " is deleted", [&] { manager.remove(name); });
}

// One of each kind, from nothing to nothing.
void live(Manager& manager, Steps& steps, v1::Node node, int round) {
  const std::string number = std::to_string(round);
  for (const v1::Mode mode : {v1::READ_ONLY, v1::READ_WRITE}) {
    const std::string kind = mode == v1::READ_ONLY ? "read-only" : "read-write";
    const std::string name = fmt::format("{}-{}", kind, number);
    v1::Device device;
    steps.time(kind + ": created, started, first reply", [&] {
      auto request = request_for(name, mode, node);
      request.set_start(true);
      device = manager.create(request);
      answers(device);
    });
    park_and_wake(manager, steps, kind, device);
    if (mode == v1::READ_ONLY) {
      steps.time("read-only becomes read-write", [&] {
        (void)manager.set_mode(name, v1::READ_WRITE);
        answers(device);
      });
    } else {
      replace(manager, steps, device);
      clone(manager, steps, "read-write cloned", name, mode);
      go_back(manager, steps, name);
    }
    manager.stop(name);
    steps.time(kind + " is started again, first reply", [&] { answers(manager.start(name)); });
    end(manager, steps, kind, name);
  }
  auto mould = request_for("mould-" + number, v1::READ_ONLY, node);
  mould.set_role(v1::TEMPLATE);
  (void)manager.create(mould);
  clone(manager, steps, "template cloned read-only", mould.name(), v1::READ_ONLY);
  clone(manager, steps, "template cloned read-write", mould.name(), v1::READ_WRITE);
  manager.remove(mould.name());
}

int usage() {
  (void)std::fputs(
      "usage: bench-life --socket ADMIN.SOCK [--clock FILE] [--node kernel|socket]\n"
      "                  [--rounds N] [--devices N] [--clients N] [--mode read-only|read-write]\n"
      "                  lives|storm|wakes|clones\n",
      stderr);
  return 2;
}

int run(int argc, char** argv) {
  const option long_options[] = {
      {"socket", required_argument, nullptr, 's'},  {"clock", required_argument, nullptr, 'k'},
      {"node", required_argument, nullptr, 'n'},    {"rounds", required_argument, nullptr, 'r'},
      {"devices", required_argument, nullptr, 'd'}, {"clients", required_argument, nullptr, 'c'},
      {"mode", required_argument, nullptr, 'm'},    {nullptr, 0, nullptr, 0}};
  std::string socket;
  std::string clock;
  int rounds = 10;
  Crowd crowd;
  for (int option = 0; (option = ::getopt_long(argc, argv, "", long_options, nullptr)) != -1;) {
    switch (option) {
      case 's': socket = optarg; break;
      case 'k': clock = optarg; break;
      case 'n': crowd.node = std::string(optarg) == "socket" ? v1::SOCKET : v1::KERNEL; break;
      case 'r': rounds = std::atoi(optarg); break;
      case 'd': crowd.devices = std::atoi(optarg); break;
      case 'c': crowd.clients = std::atoi(optarg); break;
      case 'm':
        crowd.mode = std::string(optarg) == "read-only" ? v1::READ_ONLY : v1::READ_WRITE;
        break;
      default: return usage();
    }
  }
  if (socket.empty() || optind + 1 != argc) return usage();
  Manager manager(socket);
  const std::string part = argv[optind];
  if (part == "storm") {
    storm(manager, crowd);
  } else if (part == "wakes") {
    wakes(manager);
  } else if (part == "clones") {
    clones(manager, crowd);
  } else if (part == "lives") {
    const SyncClock syncs(clock);
    Steps steps(syncs);
    for (int round = 0; round < rounds; ++round) live(manager, steps, crowd.node, round);
    steps.print();
  } else {
    return usage();
  }
  if (std::fflush(stdout) != 0) die_errno("standard output");
  return 0;
}

}  // namespace

void print_times(const char* name, const std::vector<double>& times) {
  (void)std::printf("\"%s\": [", name);
  const char* comma = "";
  for (const double us : times) (void)std::printf("%s%.1f", std::exchange(comma, ", "), us);
  (void)std::fputc(']', stdout);
}

double microseconds(const std::function<void()>& act) {
  const auto start = std::chrono::steady_clock::now();
  act();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
      .count();
}

}  // namespace bench

int main(int argc, char** argv) {
  (void)std::signal(SIGPIPE, SIG_IGN);
  return bench::run(argc, argv);
}
