// SPDX-License-Identifier: Apache-2.0
// WorkerProcess: the process that serves a device now, if there is one, and the socket to it.
//
// Owned by a Device, used on the loop's thread. A worker is untrusted: its messages are decoded
// here, and one that sends nonsense is killed.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "device/fork_client.h"
#include "device/loop.h"
#include "privsep/messages.h"

namespace vtpm::device {

class WorkerProcess {
 public:
  struct Owner {
    std::function<void()> began{};  // alive() from now on
    std::function<void(const privsep::Message&)> message;
    // Once for each start(), after the last message, when the process is certainly dead.
    std::function<void(int wait_status)> died;
  };
  WorkerProcess(Loop& loop, ForkClient& forks, Owner owner)
      : loop_(loop), forks_(forks), owner_(std::move(owner)) {}
  ~WorkerProcess() { close(); }
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  // `descriptors`: what privsep::Start says; they are duplicated into the worker.
  Result<void> start(privsep::Start start, const std::vector<int>& descriptors);
  // One that makes an identity, or begins one (Manufacture, MakeAhead), and ends: it serves no
  // device, and no later manager can use it.
  Result<void> start(const privsep::Message& order);
  // Takes over one that an earlier manager left. If it is dead, its last words and its death
  // follow.
  Result<void> adopt(InheritedWorker worker);
  // False: it cannot be told, for it is dead or does not read.
  bool send(const privsep::Message& message);
  // It has been told to end: closing its socket is no offence from now on.
  void expect_end() { ending_ = true; }
  // SIGKILL, also of one that is still being forked.
  void kill();
  // The same, and remembers why.
  void kill_for(std::string reason);
  void blame(std::string reason) { failure_ = std::move(reason); }

  [[nodiscard]] bool alive() const { return alive_; }  // asked for, and death not yet confirmed
  [[nodiscard]] pid_t pid() const { return pid_; }     // 0: none, or not known yet
  // It died before it lived: there was no fork server, or no process to be had.
  [[nodiscard]] bool was_never_forked() const { return never_forked_; }
  // Why it ended, as far as it said or we know; kept until the next start().
  [[nodiscard]] const std::string& failure() const { return failure_; }

 private:
  Result<void> start(ForkClient::NewWorker worker, const privsep::Message& first,
                     const std::vector<int>& descriptors);
  Result<void> watch(UniqueFd socket);
  bool receive();  // false: nothing more is there now
  void on_forked(Result<pid_t> pid);
  void on_died(int wait_status);
  void close();

  Loop& loop_;
  ForkClient& forks_;
  Owner owner_;
  UniqueFd socket_;
  pid_t pid_ = 0;
  bool alive_ = false;
  bool ending_ = false;
  bool kill_when_forked_ = false;
  bool never_forked_ = false;
  std::string failure_;
};

}  // namespace vtpm::device
