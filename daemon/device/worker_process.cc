// SPDX-License-Identifier: Apache-2.0
#include "device/worker_process.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

namespace vtpm::device {
namespace {

Result<UniqueFd> duplicate(int fd) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy) return fail_errno("cannot duplicate a descriptor", errno);
  return copy;
}

}  // namespace

Result<void> WorkerProcess::start(privsep::Start start, const std::vector<int>& descriptors) {
  ForkClient::NewWorker worker;
  worker.device = start.device;
  worker.incarnation = start.checkpoint.incarnation;
  // The fork server keeps what belongs to a socket's node for the next manager.
  const std::size_t first = start.failed ? 0 : 1;  // after the journal
  if (start.node == privsep::NodeKind::socket)
    for (std::size_t i = first; i < descriptors.size(); i++) {
      VTPM_TRY(worker.node.emplace_back(), duplicate(descriptors[i]));
    }
  return this->start(std::move(worker), privsep::Message{std::move(start)}, descriptors);
}

Result<void> WorkerProcess::start(const privsep::Message& order) {
  ForkClient::NewWorker worker;
  const auto nobody = Uuid::random();  // the fork server has one worker a device
  if (!nobody) return tl::unexpected<Error>(nobody.error());
  worker.device = *nobody;
  return start(std::move(worker), order, {});
}

Result<void> WorkerProcess::start(ForkClient::NewWorker worker, const privsep::Message& first,
                                  const std::vector<int>& descriptors) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return fail_errno("cannot make a socket pair", errno);
  UniqueFd ours(ends[0]);
  worker.theirs.reset(ends[1]);
  // It lies in the socket before there is anybody to read it.
  VTPM_CHECK(privsep::send_datagram(ours.get(), encode(first), descriptors));
  // The fork server keeps our end for the next manager.
  VTPM_TRY(worker.ours, duplicate(ours.get()));
  VTPM_CHECK(watch(std::move(ours)));
  forks_.fork_worker(std::move(worker),
                     {.forked = [this](Result<pid_t> pid) { on_forked(std::move(pid)); },
                      .died = [this](int status) { on_died(status); }});
  return {};
}

Result<void> WorkerProcess::adopt(InheritedWorker worker) {
  VTPM_CHECK(watch(std::move(worker.socket)));
  pid_ = worker.pid;
  if (!worker.dead)
    forks_.adopt(worker.pid, [this](int status) { on_died(status); });
  else
    loop_.post([this, status = worker.wait_status] { on_died(status); });
  return {};
}

Result<void> WorkerProcess::watch(UniqueFd socket) {
  VTPM_CHECK(loop_.watch(socket.get(), [this] { receive(); }));
  socket_ = std::move(socket);
  alive_ = true;
  ending_ = false;
  kill_when_forked_ = false;
  never_forked_ = false;
  failure_.clear();
  if (owner_.began) owner_.began();
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
    never_forked_ = true;
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
