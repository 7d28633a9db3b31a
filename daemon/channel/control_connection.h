// SPDX-License-Identifier: Apache-2.0
// One client of the control socket: requests of swtpm's protocol in, answers out, never waiting.
//
// The host's own tools are at the other end, and are checked as if they were not: a request may
// come byte by byte or never end, descriptors may come that nobody asked for.
// Owned and used by the channel's one thread.
#pragma once

#include <sys/socket.h>

#include <array>
#include <chrono>
#include <optional>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "channel/swtpm_protocol.h"

namespace vtpm::channel {

class ControlConnection {
 public:
  using Clock = std::chrono::steady_clock;
  // How long a request may take to arrive once it has begun: a stalled client would keep the next
  // one waiting in the backlog.
  static constexpr std::chrono::milliseconds kRequestTime{2000};

  explicit ControlConnection(UniqueFd socket);

  [[nodiscard]] int fd() const { return socket_.get(); }

  // Takes what the socket has. False: the client is gone.
  bool receive();
  // Takes the first request out of the buffer, if one is there (Status::incomplete: none).
  swtpm::Parsed next();
  [[nodiscard]] bool has_request() const;
  // When the request that has begun is overdue; none if none has begun.
  [[nodiscard]] std::optional<Clock::time_point> deadline() const { return deadline_; }
  // The descriptor that came with the request; invalid if none or more than one did.
  UniqueFd take_passed_fd() { return std::move(passed_fd_); }

  // False: the client is gone, or lets answers pile up.
  bool answer(const swtpm::Answer& answer);

 private:
  void keep_passed_fds(msghdr& message);
  void update_deadline();

  UniqueFd socket_;
  std::array<std::byte, 4 * swtpm::kMaxRequest> buffer_{};
  std::size_t have_ = 0;
  std::size_t padding_ = 0;
  std::optional<Clock::time_point> deadline_;
  UniqueFd passed_fd_;
};

}  // namespace vtpm::channel
