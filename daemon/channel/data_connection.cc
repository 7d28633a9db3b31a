// SPDX-License-Identifier: Apache-2.0
#include "channel/data_connection.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "frame/frame.h"

namespace vtpm::channel {
namespace {
constexpr std::size_t kSizeOffset = 2;                                 // after the tag
constexpr std::size_t kSizeEnd = kSizeOffset + sizeof(std::uint32_t);  // length is known from here
}  // namespace

DataConnection::DataConnection(UniqueFd socket, bool passed)
    : socket_(std::move(socket)), passed_(passed), buffer_(frame::kMaxFrame) {}

DataConnection::Input DataConnection::input() const {
  if (have_ < kSizeEnd) return Input::incomplete;
  const std::uint32_t size = load_be32(buffer_.data() + kSizeOffset);
  if (size < frame::kHeaderSize || size > frame::kMaxFrame) return Input::bad_size;
  return have_ < size ? Input::incomplete : Input::frame;
}

bool DataConnection::receive() {
  // Room is always left: a full buffer holds a whole frame or a bad length.
  if (have_ == buffer_.size()) return true;
  ssize_t n = 0;
  do {
    n = ::recv(socket_.get(), buffer_.data() + have_, buffer_.size() - have_, MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
  have_ += static_cast<std::size_t>(n);
  return n > 0;
}

ByteView DataConnection::frame() const {
  return ByteView(buffer_).first(load_be32(buffer_.data() + kSizeOffset));
}

void DataConnection::consume() {
  const std::size_t size = frame().size();
  const std::size_t rest = have_ - size;
  if (rest > 0) std::memmove(buffer_.data(), buffer_.data() + size, rest);
  wipe(MutableByteView(buffer_).subspan(rest, size));
  have_ = rest;
}

bool DataConnection::send(ByteView reply) {
  output_.insert(output_.end(), reply.begin(), reply.end());
  return flush();
}

bool DataConnection::flush() {
  std::size_t sent = 0;
  while (sent < output_.size()) {
    const ssize_t n = ::send(socket_.get(), output_.data() + sent, output_.size() - sent,
                             MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) return false;
    if (n < 0) break;
    sent += static_cast<std::size_t>(n);
  }
  wipe(MutableByteView(output_).first(sent));
  output_.erase(output_.begin(), output_.begin() + static_cast<std::ptrdiff_t>(sent));
  return true;
}

}  // namespace vtpm::channel
