// SPDX-License-Identifier: Apache-2.0
#include "device/fork_client.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <csignal>

#include "base/log.h"

namespace vtpm::device {

ForkClient::~ForkClient() {
  if (!server_.control) return;
  loop_.unwatch(server_.control.get());
  server_.control.reset();  // the server ends when its control socket closes
  if (server_.pid > 0) ::waitpid(server_.pid, nullptr, 0);
}

Result<void> ForkClient::start() {
  VTPM_TRY(server_, privsep::spawn_fork_server(engine_path_));
  return loop_.watch(server_.control.get(), [this] { on_readable(); });
}

void ForkClient::fork_worker(UniqueFd socket, Callbacks callbacks) {
  const std::uint64_t id = next_id_++;
  asked_.emplace(id, std::move(callbacks));
  waiting_.push_back(Request{id, std::move(socket)});
  send_waiting();
}

void ForkClient::send_waiting() {
  while (!waiting_.empty() && asked_.size() - waiting_.size() < kMaxOpen && server_.control) {
    const std::array<int, 1> descriptors{waiting_.front().socket.get()};
    const auto request = encode(privsep::ForkMessage{privsep::ForkRequest{waiting_.front().id}});
    // A server that does not take it is dying: server_gone() answers every request.
    if (!privsep::send_datagram(server_.control.get(), request, descriptors, true)) return;
    waiting_.pop_front();
  }
}

void ForkClient::kill(pid_t pid) {
  const auto child = children_.find(pid);
  if (child == children_.end() || !child->second.pidfd) return;
  (void)::syscall(SYS_pidfd_send_signal, child->second.pidfd.get(), SIGKILL, nullptr, 0);
}

void ForkClient::on_readable() {
  for (;;) {
    auto received = privsep::receive_datagram(server_.control.get(), true);
    if (!received) {
      if (received.error().code == ErrorCode::busy) return;
      return server_gone();
    }
    if (received->bytes.empty()) return server_gone();
    auto message = privsep::decode_fork(received->bytes);
    if (!message) return server_gone();
    handle(*message, std::move(received->descriptors));
    if (!server_.control) return;
  }
}

void ForkClient::handle(const privsep::ForkMessage& message, std::vector<UniqueFd> descriptors) {
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
    if (!node.empty()) node.mapped().died(died->wait_status);
  }
}

// Workers die with the server. Their deaths are confirmed before anybody is told, so that no
// second worker of a device can start beside the first.
void ForkClient::server_gone() {
  log::error("the fork server is gone; starting it again",
             {{"workers", std::to_string(children_.size())}});
  loop_.unwatch(server_.control.get());
  server_.control.reset();
  if (server_.pid > 0) {
    ::kill(server_.pid, SIGKILL);
    ::waitpid(server_.pid, nullptr, 0);
  }
  auto children = std::move(children_);
  auto asked = std::move(asked_);
  children_.clear();
  asked_.clear();
  waiting_.clear();
  for (auto& [pid, child] : children) {
    if (!child.pidfd) continue;
    (void)::syscall(SYS_pidfd_send_signal, child.pidfd.get(), SIGKILL, nullptr, 0);
    pollfd wait{child.pidfd.get(), POLLIN, 0};
    ::poll(&wait, 1, 10'000);
  }
  if (auto started = start(); !started)
    log::error("cannot start the fork server", {{"why", started.error().message}});
  for (auto& [id, callbacks] : asked)
    callbacks.forked(fail(ErrorCode::unavailable, "the fork server died before it forked"));
  for (auto& [pid, child] : children) child.died(SIGKILL);
}

}  // namespace vtpm::device
