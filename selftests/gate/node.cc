// SPDX-License-Identifier: Apache-2.0
#include "node.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>

#include "frame/frame.h"

namespace vtpm::gate_test {

Result<Node> Node::open_device(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd) return fail_errno("open " + path, errno);
  return Node(std::move(fd));
}

Result<Node> Node::connect_socket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return fail(ErrorCode::invalid_argument, "the path of the socket is empty or too long");
  }
  path.copy(address.sun_path, path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("socket", errno);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return fail_errno("connect to " + path, errno);
  }
  return Node(std::move(fd));
}

Result<Bytes> Node::exchange(ByteView frame) {
  const ssize_t written = ::write(fd_.get(), frame.data(), frame.size());
  if (written < 0) return fail_errno("write", errno);
  if (static_cast<std::size_t>(written) != frame.size()) {
    return fail(ErrorCode::io, "the frame was taken in part only");
  }
  Bytes reply(frame::kMaxFrame);
  std::size_t got = 0;
  std::size_t wanted = frame::kHeaderSize;
  while (got < wanted) {
    constexpr int minute = 60 * 1000;
    pollfd waiting{fd_.get(), POLLIN, 0};
    const int ready = ::poll(&waiting, 1, minute);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return fail_errno("poll", errno);
    if (ready == 0) return fail(ErrorCode::timed_out, "no reply within a minute");
    // A character device gives its whole reply to one read.
    const ssize_t n = ::read(fd_.get(), reply.data() + got, reply.size() - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("read", errno);
    if (n == 0) return fail(ErrorCode::io, "the connection was closed before the reply");
    got += static_cast<std::size_t>(n);
    if (got >= frame::kHeaderSize) wanted = load_be32(reply.data() + 2);
    if (wanted < frame::kHeaderSize || wanted > reply.size()) {
      return fail(ErrorCode::corrupt, "the size field of the reply is out of range");
    }
  }
  if (got != wanted) return fail(ErrorCode::corrupt, "bytes after the end of the reply");
  reply.resize(got);
  return reply;
}

}  // namespace vtpm::gate_test
