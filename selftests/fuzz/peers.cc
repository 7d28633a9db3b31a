// SPDX-License-Identifier: Apache-2.0
#include "peers.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "check.h"

namespace vtpm::fuzz {
namespace {

constexpr std::size_t kMaxPeers = 6;  // below the backlog of the listeners

Bytes frame_of(std::size_t size, std::byte fill) {
  Bytes out;
  Writer(out).u16(0x8001).u32(static_cast<std::uint32_t>(size)).u32(0x17b);
  out.resize(std::max<std::size_t>(size, out.size()), fill);
  return out;
}

Bytes request(std::uint32_t code, std::uint32_t argument) {
  Bytes out;
  Writer(out).u32(code).u32(argument);
  return out;
}

const Bytes kLastFrame = frame_of(77, std::byte{0x4c});

}  // namespace

Listener::Listener()
    : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
      name_(sizeof(sockaddr_un)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  FUZZ_CHECK(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)) == 0);
  FUZZ_CHECK(::listen(fd_.get(), 16) == 0);
  socklen_t size = sizeof address;
  FUZZ_CHECK(::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(name_.data()), &size) == 0);
  name_.resize(size);
}

UniqueFd Listener::connect() const {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(name_.data()),
                static_cast<socklen_t>(name_.size())) != 0)
    fd.reset();
  return fd;
}

void DataPeer::send(ByteView bytes) {
  const ssize_t n = ::send(fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n > 0) sent.insert(sent.end(), bytes.begin(), bytes.begin() + n);
}

void DataPeer::receive() {
  std::array<std::byte, 4096> part{};
  ssize_t n = 0;
  while ((n = ::recv(fd.get(), part.data(), part.size(), MSG_DONTWAIT)) > 0)
    received.insert(received.end(), part.begin(), part.begin() + n);
}

std::size_t DataPeer::count(ByteView frame) const {
  std::size_t found = 0;
  ByteView rest = sent;
  while (rest.size() >= 10) {
    const std::size_t size = load_be32(&rest[2]);
    if (size < 10 || size > 4096 || size > rest.size()) break;  // the stream is cut or ends here
    if (std::ranges::equal(rest.first(size), frame)) ++found;
    rest = rest.subspan(size);
  }
  return found;
}

Peers::Peers(ByteView script, Listener& data, Listener& control, UniqueFd manager)
    : script_(script),
      data_listener_(data),
      control_listener_(control),
      manager_(std::move(manager)) {}

DataPeer& Peers::data() {
  if (data_.empty() || (!data_.back().fd && data_.size() < kMaxPeers))
    data_.push_back({.fd = data_listener_.connect(), .sent = {}, .received = {}});
  return data_.back();
}

void Peers::control_send(ByteView bytes, std::vector<int> descriptors) {
  if (!control_) control_ = control_listener_.connect();
  if (!control_ || bytes.empty()) return;
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 8)> room{};
  if (!descriptors.empty()) {
    const std::size_t size = descriptors.size() * sizeof(int);
    message.msg_control = room.data();
    message.msg_controllen = CMSG_SPACE(size);
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(c), descriptors.data(), size);
  }
  (void)::sendmsg(control_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// A VM's connection, with little room for replies that nobody reads.
void Peers::pass_data_connection(ByteView request) {
  std::array<int, 2> ends{};
  FUZZ_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
  const UniqueFd theirs(ends[0]);
  const int small = 1;
  (void)::setsockopt(theirs.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  data_.push_back({.fd = UniqueFd(ends[1]), .sent = {}, .received = {}});
  control_send(request, {theirs.get()});
}

void Peers::operation() {
  const auto chunk = [this] {
    const std::size_t size = script_.u8();
    return take(script_, size);
  };
  switch (script_.u8() % 14) {
    case 0: data().send(chunk()); break;
    case 1: data().send(frame_of(script_.u16() % 4200, std::byte{script_.u8()})); break;
    case 2: {  // several at once
      Bytes many;
      for (int i = script_.u8() % 8; i >= 0; --i)
        Writer(many).bytes(frame_of(10 + i, static_cast<std::byte>(i)));
      data().send(many);
      break;
    }
    case 3: data().receive(); break;
    case 4: (void)::shutdown(data().fd.get(), SHUT_WR); break;
    case 5:
      if (!data_.empty()) data_.back().fd.reset();
      break;
    case 6:  // another one waits behind the first
      if (data_.size() < kMaxPeers)
        data_.push_back({.fd = data_listener_.connect(), .sent = {}, .received = {}});
      break;
    case 7: control_send(chunk()); break;
    case 8: control_send(request(script_.u8() % 20, script_.u8() % 8)); break;
    case 9: {
      const std::uint32_t code = script_.u8() % 20;
      const Bytes whole = request(code, script_.u32());
      control_send(ByteView(whole).first(1 + script_.u8() % 8));
      break;
    }
    case 10:
      if (data_.size() < kMaxPeers) pass_data_connection(ByteView(request(0x10, 0)).first(4));
      break;
    case 11: {  // descriptors that nobody asked for
      const std::vector<int> some(1 + script_.u8() % 6, STDERR_FILENO);
      control_send(ByteView(request(script_.u8() % 20, 0)).first(4), some);
      break;
    }
    case 12: {
      std::array<std::byte, 256> part{};
      while (control_ && ::recv(control_.get(), part.data(), part.size(), MSG_DONTWAIT) > 0) {
      }
      break;
    }
    default: control_.reset(); break;
  }
}

void Peers::act() {
  if (stage_ == 0 && script_.ok() && !script_.done()) return operation();
  finish();
}

// Each step is taken when the channel has done all that the one before gave it to do.
void Peers::finish() {
  switch (stage_++) {
    case 0:
      for (DataPeer& peer : data_) {
        if (peer.fd) peer.receive();
        peer.fd.reset();
      }
      control_.reset();
      break;
    case 1: control_send(request(0x02, 0)); break;  // CMD_INIT: it runs, whatever was before
    case 2: {
      std::array<std::byte, 5> answer{};
      FUZZ_CHECK(::recv(control_.get(), answer.data(), answer.size(), MSG_DONTWAIT) == 4);
      FUZZ_CHECK(load_be32(answer.data()) == 0);
      data_.clear();
      handed_out_.clear();
      data().send(kLastFrame);
      break;
    }
    case 3:
      data().receive();
      FUZZ_CHECK(handed_out_[kLastFrame] == 1 && data().received.size() == 10);
      FUZZ_CHECK(::write(manager_.get(), "", 1) == 1);
      break;
    default: FUZZ_CHECK(!"the channel waits although its manager calls");
  }
}

// Each frame was sent by a client, and is handed out no more often than it was sent.
void Peers::check_frame(ByteView frame) {
  FUZZ_CHECK(frame.size() >= 10 && frame.size() <= 4096 && load_be32(&frame[2]) == frame.size());
  std::size_t sent = 0;
  for (const DataPeer& peer : data_) sent += peer.count(frame);
  FUZZ_CHECK(++handed_out_[to_bytes(frame)] <= sent);
}

// What a client reads is a row of replies; the last one may be cut by the end of its connection.
void Peers::check_end() const {
  FUZZ_CHECK(stage_ == 4);
  for (const DataPeer& peer : data_) {
    ByteView rest = peer.received;
    while (rest.size() >= 10) {
      const std::size_t size = load_be32(&rest[2]);
      FUZZ_CHECK(load_be16(rest.data()) == 0x8001 && size >= 10 && size <= 4096);
      rest = rest.subspan(std::min(size, rest.size()));
    }
  }
}

bool Peers::worker_agrees() {
  return stage_ > 0 || !script_.ok() || script_.done() || script_.u8() % 8 != 0;
}

Bytes Peers::worker_reply() {
  if (stage_ > 0) return frame_of(10, std::byte{0});
  return frame_of(10 + (script_.u8() % 16) * 272, std::byte{0x52});
}

}  // namespace vtpm::fuzz
