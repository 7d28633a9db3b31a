// SPDX-License-Identifier: Apache-2.0
// A socket node, compatible with swtpm's UnixIO: frames on S, swtpm's control protocol on S.ctrl.
//
// One poll() loop serves both. Each takes one client at a time, the next ones wait in the backlog;
// no client can make exchange() wait for it, and neither side can starve the other: they take
// turns. System calls: poll, accept4, recvfrom, recvmsg, sendto, getsockopt, close, clock_gettime.
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <optional>
#include <utility>

#include "base/log.h"
#include "channel/channel.h"
#include "channel/control_connection.h"
#include "channel/data_connection.h"
#include "channel/swtpm_protocol.h"
#include "frame/frame.h"

namespace vtpm::channel {
namespace {

using Clock = ControlConnection::Clock;
using swtpm::Answer;
using swtpm::Command;

// How long to leave a listener alone after accept() failed for want of descriptors or memory.
constexpr std::chrono::milliseconds kAcceptPause{100};

bool is_connected_unix_stream(int fd) {
  const auto option = [fd](int name) {
    int value = -1;
    socklen_t size = sizeof(value);
    return ::getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
  };
  return option(SO_DOMAIN) == AF_UNIX && option(SO_TYPE) == SOCK_STREAM &&
         option(SO_ACCEPTCONN) == 0;
}

class SocketChannel final : public Channel {
 public:
  SocketChannel(UniqueFd data_listener, UniqueFd control_listener, int manager_fd,
                std::uint64_t sequence)
      : data_listener_(std::move(data_listener)),
        control_listener_(std::move(control_listener)),
        manager_fd_(manager_fd),
        sequence_(sequence) {}

  Result<Event> exchange(const Reply* reply) override;
  Result<void> finish(const Reply& reply) override {
    take_reply(reply);
    return {};
  }
  Result<void> complete_control(bool ok, bool value) override;
  // Connections, the locality and CMD_STOP are this channel's; who waits in the backlog is not.
  bool at_rest() const override { return !data_ && !control_ && locality_ == 0 && running_; }

 private:
  struct Ready {
    bool manager = false;
    bool control = false;
    bool data = false;
  };
  void take_reply(const Reply& reply);
  Result<Ready> wait();
  [[nodiscard]] int poll_timeout() const;
  Result<UniqueFd> accept(int listener);

  Result<std::optional<Event>> serve_control(bool ready);
  std::optional<Event> handle(const swtpm::Parsed& request);
  Answer set_data_fd();
  void answer(const Answer& answer);

  Result<std::optional<Event>> serve_data(bool ready);
  void refuse_frame(std::uint32_t rc);
  void send_reply(ByteView bytes);

  UniqueFd data_listener_;
  UniqueFd control_listener_;
  int manager_fd_;
  std::uint64_t sequence_;  // of the last frame handed out

  std::optional<DataConnection> data_;
  bool owed_ = false;  // the frame sequence_ of data_ is with the worker
  std::optional<ControlConnection> control_;
  std::optional<Control::Kind> pending_;  // the Control event that is with the worker

  std::uint8_t locality_ = 0;
  bool running_ = true;      // false between CMD_STOP and CMD_INIT
  bool data_first_ = false;  // whose turn it is
  std::optional<Clock::time_point> accept_again_;
};

void SocketChannel::take_reply(const Reply& reply) {
  if (!owed_ || reply.sequence != sequence_) return;
  owed_ = false;
  if (!data_) return;
  data_->consume();
  send_reply(reply.bytes);
}

Result<Event> SocketChannel::exchange(const Reply* reply) {
  if (reply != nullptr) take_reply(*reply);
  for (;;) {
    VTPM_TRY(const Ready ready, wait());
    if (ready.manager) return Event(Wake{});
    for (int side = 0; side < 2; ++side) {
      const bool data = (side == 0) == data_first_;
      VTPM_TRY(std::optional<Event> event,
               data ? serve_data(ready.data) : serve_control(ready.control));
      if (event) {
        data_first_ = !data;
        return *event;
      }
    }
  }
}

int SocketChannel::poll_timeout() const {
  const bool data_waits = data_ && !owed_ && !data_->has_output() &&
                          data_->input() != DataConnection::Input::incomplete;
  const bool control_waits = control_ && !pending_ && control_->has_request();
  if (data_waits || control_waits) return 0;
  std::optional<Clock::time_point> until = accept_again_;
  if (control_ && !pending_ && control_->deadline()) {
    until = until ? std::min(*until, *control_->deadline()) : control_->deadline();
  }
  if (!until) return -1;
  const auto rest = std::chrono::ceil<std::chrono::milliseconds>(*until - Clock::now()).count();
  return rest < 0 ? 0 : static_cast<int>(rest);
}

Result<SocketChannel::Ready> SocketChannel::wait() {
  if (accept_again_ && Clock::now() >= *accept_again_) accept_again_.reset();
  // A negative descriptor is passed over. A connection whose request the worker has is not looked
  // at, or its hanging up would make this loop spin.
  const int idle_control = accept_again_ ? -1 : control_listener_.get();
  const int idle_data = accept_again_ ? -1 : data_listener_.get();
  const bool writing = data_ && data_->has_output();
  std::array<pollfd, 3> fds{{
      {.fd = manager_fd_, .events = POLLIN, .revents = 0},
      {.fd = pending_   ? -1
             : control_ ? control_->fd()
                        : idle_control,
       .events = POLLIN,
       .revents = 0},
      {.fd = owed_   ? -1
             : data_ ? data_->fd()
                     : idle_data,
       .events = static_cast<short>(writing ? POLLOUT : POLLIN),
       .revents = 0},
  }};
  if (::poll(fds.data(), fds.size(), poll_timeout()) < 0) {
    if (errno == EINTR) return Ready{};
    return fail_errno("wait for the sockets of a device", errno);
  }
  for (const pollfd& fd : fds) {
    if ((fd.revents & POLLNVAL) != 0) {
      return fail(ErrorCode::internal, "a socket of the device is not an open descriptor");
    }
  }
  return Ready{
      .manager = fds[0].revents != 0, .control = fds[1].revents != 0, .data = fds[2].revents != 0};
}

// An invalid descriptor: nobody there after all.
Result<UniqueFd> SocketChannel::accept(int listener) {
  UniqueFd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (fd) return fd;
  switch (errno) {
    case EAGAIN:
    case EINTR:
    case ECONNABORTED: return fd;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      log::warning("cannot accept a client, trying again", {{"errno", std::to_string(errno)}});
      accept_again_ = Clock::now() + kAcceptPause;
      return fd;
    default: return fail_errno("accept a client of the device's socket", errno);
  }
}

// One request at most, so that the data side has its turn.
Result<std::optional<Event>> SocketChannel::serve_control(bool ready) {
  if (pending_) return std::nullopt;
  if (!control_) {
    if (!ready) return std::nullopt;
    VTPM_TRY(UniqueFd fd, accept(control_listener_.get()));
    if (fd) control_.emplace(std::move(fd));
    return std::nullopt;
  }
  if (ready && !control_->has_request() && !control_->receive()) {
    control_.reset();
    return std::nullopt;
  }
  const swtpm::Parsed request = control_->next();
  switch (request.status) {
    case swtpm::Parsed::Status::incomplete:
      if (control_->deadline() && Clock::now() >= *control_->deadline()) control_.reset();
      return std::nullopt;
    case swtpm::Parsed::Status::complete: return handle(request);
    case swtpm::Parsed::Status::unsupported:
      answer(Answer::result(swtpm::kBadOrdinal));
      return std::nullopt;
    case swtpm::Parsed::Status::unframed: break;
  }
  // Where the next request begins is not known.
  answer(Answer::result(swtpm::kBadOrdinal));
  control_.reset();
  return std::nullopt;
}

std::optional<Event> SocketChannel::handle(const swtpm::Parsed& request) {
  const auto hand_over = [this](Control control) {
    pending_ = control.kind;
    return Event(control);
  };
  const bool good_locality = request.argument <= swtpm::kMaxLocality;
  switch (request.command) {
    case Command::get_capability: answer(Answer::capabilities()); break;
    case Command::get_config: answer(Answer::config()); break;
    case Command::set_buffer_size: answer(Answer::buffer_size()); break;
    case Command::set_data_fd: answer(set_data_fd()); break;
    case Command::init:
      // A power cycle with or without the flag: it speaks of the volatile state that
      // STORE_VOLATILE saved, which there is not.
      if ((request.argument & ~swtpm::kInitDeleteVolatile) != 0) {
        answer(Answer::result(swtpm::kBadParameter));
        break;
      }
      return hand_over({.kind = Control::Kind::init});
    case Command::shutdown: return hand_over({.kind = Control::Kind::shutdown});
    case Command::stop: return hand_over({.kind = Control::Kind::stop});
    case Command::set_locality:
      if (good_locality) locality_ = static_cast<std::uint8_t>(request.argument);
      answer(Answer::result(good_locality ? swtpm::kSuccess : swtpm::kBadLocality));
      break;
    case Command::cancel:
      // Commands are never cut short; this thread reads the request when none is running.
      answer(Answer::result(running_ ? swtpm::kSuccess : swtpm::kBadOrdinal));
      break;
    case Command::get_established:
      if (running_) return hand_over({.kind = Control::Kind::established});
      answer(Answer::established(swtpm::kBadOrdinal, false));
      break;
    case Command::reset_established:
      if (running_ && good_locality) {
        return hand_over({.kind = Control::Kind::reset_established,
                          .locality = static_cast<std::uint8_t>(request.argument)});
      }
      answer(Answer::result(running_ ? swtpm::kBadLocality : swtpm::kBadOrdinal));
      break;
    default: answer(Answer::result(swtpm::kBadOrdinal)); break;
  }
  return std::nullopt;
}

// The VM's connection takes the place of a listener's client; a second VM is refused.
Answer SocketChannel::set_data_fd() {
  UniqueFd fd = control_->take_passed_fd();
  if (!fd || !is_connected_unix_stream(fd.get())) return Answer::result(swtpm::kBadParameter);
  if (data_ && data_->passed()) {
    // Perhaps that VM has died and nobody has looked since.
    pollfd old{.fd = data_->fd(), .events = 0, .revents = 0};
    if (::poll(&old, 1, 0) <= 0) return Answer::result(swtpm::kIoError);
  }
  data_.emplace(std::move(fd), /*passed=*/true);
  owed_ = false;  // a reply that is still with the worker belongs to the old client: dropped
  return Answer::result(swtpm::kSuccess);
}

void SocketChannel::answer(const Answer& answer) {
  if (control_ && !control_->answer(answer)) control_.reset();
}

Result<void> SocketChannel::complete_control(bool ok, bool value) {
  if (!pending_) {
    return fail(ErrorCode::failed_precondition, "no control request waits for an answer");
  }
  const Control::Kind kind = *pending_;
  pending_.reset();
  const std::uint32_t code = ok ? swtpm::kSuccess : swtpm::kFail;
  switch (kind) {
    // As swtpm: an INIT that failed leaves a TPM that does not run.
    case Control::Kind::init: running_ = ok; break;
    case Control::Kind::stop:
    case Control::Kind::shutdown: running_ = running_ && !ok; break;
    case Control::Kind::established: answer(Answer::established(code, ok && value)); return {};
    case Control::Kind::reset_established: break;
  }
  answer(Answer::result(code));
  return {};
}

Result<std::optional<Event>> SocketChannel::serve_data(bool ready) {
  if (owed_) return std::nullopt;
  if (!data_) {
    if (!ready) return std::nullopt;
    VTPM_TRY(UniqueFd fd, accept(data_listener_.get()));
    if (fd) data_.emplace(std::move(fd), /*passed=*/false);
    return std::nullopt;
  }
  if (data_->has_output()) {
    if (ready && (!data_->flush() || (data_->ending() && !data_->has_output()))) data_.reset();
    return std::nullopt;
  }
  if (ready && data_->input() == DataConnection::Input::incomplete && !data_->receive()) {
    data_.reset();
    return std::nullopt;
  }
  switch (data_->input()) {
    case DataConnection::Input::incomplete: break;
    case DataConnection::Input::bad_size:
      data_->end_after_output();
      refuse_frame(frame::kRcCommandSize);
      break;
    case DataConnection::Input::frame:
      if (!running_) {
        data_->consume();
        refuse_frame(frame::kRcFailure);
        break;
      }
      owed_ = true;
      return Event(Frame{.sequence = ++sequence_, .locality = locality_, .bytes = data_->frame()});
  }
  return std::nullopt;
}

void SocketChannel::refuse_frame(std::uint32_t rc) { send_reply(frame::reply_header(rc)); }

void SocketChannel::send_reply(ByteView bytes) {
  if (!data_->send(bytes) || (data_->ending() && !data_->has_output())) data_.reset();
}

}  // namespace

std::unique_ptr<Channel> make_socket_channel(UniqueFd data_listener, UniqueFd control_listener,
                                             int manager_fd, std::uint64_t first_sequence) {
  return std::make_unique<SocketChannel>(std::move(data_listener), std::move(control_listener),
                                         manager_fd, first_sequence);
}

}  // namespace vtpm::channel
