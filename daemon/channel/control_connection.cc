// SPDX-License-Identifier: Apache-2.0
#include "channel/control_connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace vtpm::channel {
namespace {
constexpr std::size_t kMaxPassedFds = 4;  // those beyond are closed by the kernel (MSG_CTRUNC)
}

ControlConnection::ControlConnection(UniqueFd socket) : socket_(std::move(socket)) {}

bool ControlConnection::receive() {
  if (have_ == buffer_.size()) return true;  // pipelined requests: served before more are read
  iovec data{.iov_base = buffer_.data() + have_, .iov_len = buffer_.size() - have_};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * kMaxPassedFds)> ancillary{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = ancillary.data();
  message.msg_controllen = ancillary.size();
  ssize_t n = 0;
  do {
    n = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
  keep_passed_fds(message);
  have_ += static_cast<std::size_t>(n);
  update_deadline();
  return n > 0;
}

void ControlConnection::keep_passed_fds(msghdr& message) {
  std::size_t count = 0;
  UniqueFd last;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < fds; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
      last.reset(fd);  // owned at once: an unwanted one is closed by the next or at the end
      ++count;
    }
  }
  if (count == 0) return;
  passed_fd_.reset();
  if (count == 1 && (message.msg_flags & MSG_CTRUNC) == 0) passed_fd_ = std::move(last);
}

void ControlConnection::update_deadline() {
  const ByteView buffered = ByteView(buffer_).first(have_);
  if (swtpm::only_padding(buffered, padding_)) {
    deadline_.reset();
  } else if (!deadline_) {
    deadline_ = Clock::now() + kRequestTime;
  }
}

bool ControlConnection::has_request() const {
  return swtpm::parse(ByteView(buffer_).first(have_), padding_).status !=
         swtpm::Parsed::Status::incomplete;
}

swtpm::Parsed ControlConnection::next() {
  const swtpm::Parsed parsed = swtpm::parse(ByteView(buffer_).first(have_), padding_);
  if (parsed.status == swtpm::Parsed::Status::incomplete) return parsed;
  have_ -= parsed.used;
  std::memmove(buffer_.data(), buffer_.data() + parsed.used, have_);
  padding_ = parsed.padding;
  deadline_.reset();
  update_deadline();
  return parsed;
}

bool ControlConnection::answer(const swtpm::Answer& answer) {
  const ByteView bytes = answer.bytes();
  ssize_t n = 0;
  do {
    n = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  // At most 16 bytes a request: a socket that does not take them is that of a client that asks
  // on and on and never reads.
  return n == static_cast<ssize_t>(bytes.size());
}

}  // namespace vtpm::channel
