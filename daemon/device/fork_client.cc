// SPDX-License-Identifier: Apache-2.0
#include "device/fork_client.h"

#include <poll.h>
#include <sys/wait.h>

#include <csignal>
#include <set>

#include "base/log.h"
#include "privsep/messages.h"

namespace vtpm::device {

using privsep::ForkMessage;
using std::chrono::milliseconds;

ForkClient::~ForkClient() {
  if (timer_ != 0) loop_.cancel(timer_);
  if (!connection_) return;
  loop_.unwatch(connection_.get());
  if (options_.external) return;
  (void)privsep::send_datagram(connection_.get(), encode(ForkMessage{privsep::End{}}));
  if (!server_ended(std::chrono::seconds(10)))
    log::error("the fork server does not end", {{"pid", std::to_string(server_pid_)}});
  forget_server();
}

void ForkClient::fork_worker(NewWorker worker, Callbacks callbacks) {
  const std::uint64_t id = next_id_++;
  asked_.emplace(id, std::move(callbacks));
  waiting_.push_back(Request{id, std::move(worker)});
  send_waiting();
}

void ForkClient::send_waiting() {
  while (!waiting_.empty() && asked_.size() - waiting_.size() < kMaxOpen && connection_) {
    const Request& next = waiting_.front();
    std::vector<int> descriptors{next.worker.theirs.get(), next.worker.ours.get()};
    for (const UniqueFd& fd : next.worker.node) descriptors.push_back(fd.get());
    const auto request = encode(
        ForkMessage{privsep::ForkRequest{next.id, next.worker.device, next.worker.incarnation}});
    // A server that does not take it is dying: server_gone() follows.
    if (!privsep::send_datagram(connection_.get(), request, descriptors, true)) return;
    waiting_.pop_front();
  }
}

// The server does it: workers are other users, and only it may.
void ForkClient::kill(pid_t pid) {
  if (connection_ && children_.contains(pid))
    (void)privsep::send_datagram(connection_.get(), encode(ForkMessage{privsep::Kill{pid}}));
}

void ForkClient::on_readable() {
  for (;;) {
    auto received = privsep::receive_datagram(connection_.get(), true);
    if (!received) {
      if (received.error().code == ErrorCode::busy) return;
      return server_gone();
    }
    if (received->bytes.empty()) return server_gone();
    auto message = privsep::decode_fork(received->bytes);
    if (!message) return server_gone();
    handle(*message, std::move(received->descriptors));
    if (!connection_) return;
  }
}

void ForkClient::handle(const ForkMessage& message, std::vector<UniqueFd> descriptors) {
  if (const auto* forked = std::get_if<privsep::Forked>(&message)) {
    auto node = asked_.extract(forked->id);
    if (node.empty()) return;
    Callbacks callbacks = std::move(node.mapped());
    send_waiting();
    if (forked->pid <= 0) {
      callbacks.forked(fail_errno("cannot fork a worker", forked->error));
      return;
    }
    Child& child = children_[forked->pid];
    if (!descriptors.empty()) child.pidfd = std::move(descriptors[0]);
    child.died = std::move(callbacks.died);
    callbacks.forked(forked->pid);
  } else if (const auto* died = std::get_if<privsep::Died>(&message)) {
    auto node = children_.extract(died->pid);
    if (!node.empty()) note_death(died->pid, std::move(node.mapped()), died->wait_status);
  }
}

// One that has not been adopted yet is remembered as if it had been dead from the beginning.
void ForkClient::note_death(pid_t pid, Child child, int wait_status) {
  if (child.died) return child.died(wait_status);
  for (InheritedWorker& worker : inherited_) {
    if (worker.pid != pid) continue;
    worker.dead = true;
    worker.wait_status = wait_status;
  }
}

bool ForkClient::server_ended(milliseconds limit) {
  pollfd wait{server_pidfd_.get(), POLLIN, 0};
  return server_pidfd_ && ::poll(&wait, 1, static_cast<int>(limit.count())) == 1;
}

void ForkClient::forget_server() {
  if (spawned_ > 0 && server_ended(milliseconds(0))) {
    (void)::waitpid(spawned_, nullptr, 0);
    spawned_ = 0;
  }
  connection_.reset();
  server_pidfd_.reset();
  server_pid_ = 0;
}

// Workers die with the server. Their deaths are confirmed before anybody is told, so that no
// second worker of a device can start beside the first.
void ForkClient::server_gone() {
  loop_.unwatch(connection_.get());
  if (!server_ended(std::chrono::seconds(1))) {
    log::error("the fork server has closed its connection", {{"pid", std::to_string(server_pid_)}});
    forget_server();
    return lost_();
  }
  log::error("the fork server is gone", {{"workers", std::to_string(children_.size())}});
  forget_server();
  auto children = std::move(children_);
  children_.clear();
  std::set<std::uint64_t> unsent;
  for (const Request& request : waiting_) unsent.insert(request.id);
  std::vector<Callbacks> unanswered;
  for (auto it = asked_.begin(); it != asked_.end();) {
    if (unsent.contains(it->first)) {
      ++it;
      continue;
    }
    unanswered.push_back(std::move(it->second));
    it = asked_.erase(it);
  }
  for (auto& [pid, child] : children) {
    pollfd wait{child.pidfd.get(), POLLIN, 0};
    if (child.pidfd) ::poll(&wait, 1, 10'000);
  }
  reconnect();
  for (Callbacks& callbacks : unanswered)
    callbacks.forked(fail(ErrorCode::unavailable, "the fork server died before it forked"));
  for (auto& [pid, child] : children) note_death(pid, std::move(child), SIGKILL);
}

}  // namespace vtpm::device
