// SPDX-License-Identifier: Apache-2.0
// ForkClient: the manager's end of the fork server. Asks for workers and hears of their deaths.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "device/loop.h"
#include "privsep/fork_server.h"

namespace vtpm::device {

class ForkClient {
 public:
  struct Callbacks {
    std::function<void(Result<pid_t>)> forked;
    // Called once, after `forked`, when the worker is certainly dead.
    std::function<void(int wait_status)> died;
  };

  ForkClient(Loop& loop, std::string engine_path)
      : loop_(loop), engine_path_(std::move(engine_path)) {}
  ~ForkClient();

  // First called before the manager has threads. Called again if the server itself dies.
  Result<void> start();
  // `socket`: the worker's end of its socket pair.
  void fork_worker(UniqueFd socket, Callbacks callbacks);
  // SIGKILL; `died` follows. Nothing happens for a pid that is dead already.
  void kill(pid_t pid);
  [[nodiscard]] pid_t server_pid() const { return server_.pid; }

 private:
  // The server answers before it reads on: more than this many open requests could fill both
  // directions of the socket, and then both sides would wait for ever.
  static constexpr std::size_t kMaxOpen = 32;
  void send_waiting();
  void on_readable();
  void handle(const privsep::ForkMessage& message, std::vector<UniqueFd> descriptors);
  void server_gone();

  struct Child {
    UniqueFd pidfd;
    std::function<void(int)> died;
  };
  Loop& loop_;
  std::string engine_path_;
  privsep::ForkServerProcess server_;
  std::uint64_t next_id_ = 1;
  struct Request {
    std::uint64_t id;
    UniqueFd socket;
  };
  std::deque<Request> waiting_;               // not sent yet
  std::map<std::uint64_t, Callbacks> asked_;  // sent or waiting
  std::map<pid_t, Child> children_;
};

}  // namespace vtpm::device
