// SPDX-License-Identifier: Apache-2.0
#include "device/worker_process.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

namespace vtpm::device {

Result<void> WorkerProcess::start(privsep::Start start, const std::vector<int>& descriptors) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return fail_errno("cannot make a socket pair", errno);
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  // It lies in the socket before there is anybody to read it.
  VTPM_CHECK(
      privsep::send_datagram(ours.get(), encode(privsep::Message{std::move(start)}), descriptors));
  VTPM_CHECK(loop_.watch(ours.get(), [this] { receive(); }));
  socket_ = std::move(ours);
  alive_ = true;
  ending_ = false;
  kill_when_forked_ = false;
  failure_.clear();
  forks_.fork_worker(std::move(theirs),
                     {.forked = [this](Result<pid_t> pid) { on_forked(std::move(pid)); },
                      .died = [this](int status) { on_died(status); }});
  return {};
}

bool WorkerProcess::send(const privsep::Message& message) {
  return socket_ && privsep::send_datagram(socket_.get(), encode(message), {}, true).has_value();
}

void WorkerProcess::kill() {
  if (pid_ != 0)
    forks_.kill(pid_);
  else
    kill_when_forked_ = true;
}

void WorkerProcess::kill_for(std::string reason) {
  failure_ = std::move(reason);
  kill();
}

// A worker that sends on and on is no more than its turn: the loop serves every device.
bool WorkerProcess::receive() {
  constexpr int kMessagesATurn = 16;
  for (int i = 0; i < kMessagesATurn && socket_; i++) {
    auto received = privsep::receive_datagram(socket_.get(), true);
    if (!received && received.error().code == ErrorCode::busy) return false;
    const bool closed = received && received->bytes.empty();
    Result<privsep::Message> message =
        received && !closed ? privsep::decode(received->bytes)
                            : fail(ErrorCode::io, "the worker has closed its socket");
    if (!message) {
      // Its death is what counts, and follows; one that was told to stop is on its way out.
      close();
      if (!closed) failure_ = message.error().message;
      if (!ending_) kill();
      return false;
    }
    owner_.message(*message);
  }
  return true;
}

void WorkerProcess::on_forked(Result<pid_t> pid) {
  if (!pid) {
    failure_ = pid.error().message;
    return on_died(0);
  }
  pid_ = *pid;
  if (kill_when_forked_) kill();
}

void WorkerProcess::on_died(int wait_status) {
  while (socket_ && receive()) {
  }  // last words; a dead peer's socket ends
  close();
  pid_ = 0;
  alive_ = false;
  owner_.died(wait_status);
}

void WorkerProcess::close() {
  if (!socket_) return;
  loop_.unwatch(socket_.get());
  socket_.reset();
}

}  // namespace vtpm::device
