// SPDX-License-Identifier: Apache-2.0
// ForkClient: the manager's end of the fork server. Asks for workers, hears of their deaths, and
// takes over those that an earlier manager left.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "device/loop.h"
#include "privsep/fork_messages.h"

namespace vtpm::device {

// A worker that an earlier manager left behind.
struct InheritedWorker {
  pid_t pid = 0;
  Uuid device;
  std::uint64_t incarnation = 0;
  bool dead = false;
  int wait_status = 0;
  UniqueFd socket;             // to it; its last words, if it is dead
  std::vector<UniqueFd> node;  // what fork_worker() was given to keep
};

class ForkClient {
 public:
  struct Options {
    std::string engine_path;
    std::string socket_path;
    // Somebody else starts and ends the server: its unit. Else we start one if none listens, and
    // end it when we end in order.
    bool external = false;
    bool open_control = false;  // have it open /dev/vtpm
  };
  struct Callbacks {
    std::function<void(Result<pid_t>)> forked;
    // Called once, after `forked`, when the worker is certainly dead.
    std::function<void(int wait_status)> died;
  };
  struct NewWorker {
    Uuid device;
    std::uint64_t incarnation = 0;
    UniqueFd theirs;             // the worker's end of its socket pair
    UniqueFd ours;               // a duplicate of the manager's end, for the next manager
    std::vector<UniqueFd> node;  // at most two more, for the next manager
  };

  // `lost`: the server lives, but has closed our connection. The manager cannot know its workers
  // any more and has to end; its successor inherits them.
  ForkClient(Loop& loop, Options options, std::function<void()> lost)
      : loop_(loop), options_(std::move(options)), lost_(std::move(lost)) {}
  ~ForkClient();

  // First called before the manager has threads. FAILED_PRECONDITION: another manager lives.
  Result<void> start();
  std::vector<InheritedWorker> take_inherited() { return std::move(inherited_); }
  UniqueFd take_control() { return std::move(control_); }  // invalid: control_error() says why
  [[nodiscard]] int control_error() const { return control_error_; }

  void fork_worker(NewWorker worker, Callbacks callbacks);
  // An inherited worker that lives is from now on as one that we asked for.
  void adopt(pid_t pid, std::function<void(int)> died) { children_[pid].died = std::move(died); }
  // SIGKILL; `died` follows. Nothing happens for a pid that is dead already.
  void kill(pid_t pid);
  [[nodiscard]] pid_t server_pid() const { return server_pid_; }

 private:
  // The server answers before it reads on: more than this many open requests could fill both
  // directions of the socket, and then both sides would wait for ever.
  static constexpr std::size_t kMaxOpen = 32;
  struct Child {
    UniqueFd pidfd;
    std::function<void(int)> died;
  };
  Result<void> connect();
  Result<bool> greet();
  Result<void> receive_inherited(std::uint32_t count);
  Result<void> receive_control();
  Result<privsep::ForkMessage> receive(std::vector<UniqueFd>& descriptors);
  Result<void> send_away_old_server(std::uint32_t protocol);
  bool server_ended(std::chrono::milliseconds limit);
  void forget_server();
  void reconnect();
  void send_waiting();
  void on_readable();
  void handle(const privsep::ForkMessage& message, std::vector<UniqueFd> descriptors);
  void server_gone();
  void note_death(pid_t pid, Child child, int wait_status);

  struct Request {
    std::uint64_t id;
    NewWorker worker;
  };
  Loop& loop_;
  Options options_;
  std::function<void()> lost_;
  UniqueFd connection_;
  UniqueFd server_pidfd_;
  pid_t server_pid_ = 0;
  pid_t spawned_ = 0;  // a child of ours, to be waited for
  Loop::TimerId timer_ = 0;
  UniqueFd control_;
  int control_error_ = 0;
  std::vector<InheritedWorker> inherited_;
  std::uint64_t next_id_ = 1;
  std::deque<Request> waiting_;               // not sent yet
  std::map<std::uint64_t, Callbacks> asked_;  // sent or waiting
  std::map<pid_t, Child> children_;
};

}  // namespace vtpm::device
