// SPDX-License-Identifier: Apache-2.0
// How a message of either sort gets from process to process.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "privsep/messages.h"

namespace vtpm::privsep {

Result<void> send_datagram(int socket, ByteView bytes, std::span<const int> descriptors,
                           bool nonblocking) {
  if (bytes.size() > kMaxMessage || descriptors.size() > kMaxDescriptors)
    return fail(ErrorCode::too_large, "message between processes is over its limit");
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxDescriptors)> control{};
  if (!descriptors.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(c), descriptors.data(), descriptors.size_bytes());
  }
  for (;;) {
    if (::sendmsg(socket, &header, MSG_NOSIGNAL | (nonblocking ? MSG_DONTWAIT : 0)) >= 0) return {};
    if (errno == EAGAIN) return fail(ErrorCode::busy, "the peer has not read its messages yet");
    if (errno != EINTR) return fail_errno("cannot send a message between processes", errno);
  }
}

Result<Received> receive_datagram(int socket, bool nonblocking) {
  const auto receive = [&](msghdr& header, int flags) {
    ssize_t got = 0;
    do {
      got = ::recvmsg(socket, &header, flags | (nonblocking ? MSG_DONTWAIT : 0));
    } while (got < 0 && errno == EINTR);
    return got;
  };
  // How long it is, first: so each message gets memory of its size, and is nowhere else.
  msghdr nothing{};
  ssize_t got = receive(nothing, MSG_PEEK | MSG_TRUNC);
  Received received;
  msghdr header{};
  iovec part{};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxDescriptors)> control{};
  if (got >= 0) {
    received.bytes.resize(std::min(static_cast<std::size_t>(got), kMaxMessage));
    part = {received.bytes.data(), received.bytes.size()};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    got = receive(header, MSG_CMSG_CLOEXEC);
  }
  if (got < 0) {
    if (errno == EAGAIN) return fail(ErrorCode::busy, "no message is waiting");
    if (errno == ECONNRESET) return Received{};
    return fail_errno("cannot receive a message between processes", errno);
  }
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; i++) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      received.descriptors.emplace_back(fd);
    }
  }
  if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
    return fail(ErrorCode::too_large, "message between processes is over its limit");
  received.bytes.resize(static_cast<std::size_t>(got));
  return received;
}

}  // namespace vtpm::privsep
