// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <filesystem>

#include "privsep/messages.h"

namespace vtpm::privsep {
namespace {

std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    count++;
  return count;
}

class Datagram : public ::testing::Test {
 protected:
  Datagram() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
    a_.reset(ends[0]);
    b_.reset(ends[1]);
  }
  // As a hostile peer would: any number of descriptors, past send_datagram's checks.
  void send_raw(std::size_t size, std::size_t descriptors) {
    Bytes bytes(size, std::byte{1});
    iovec part{bytes.data(), bytes.size()};
    std::vector<int> fds(descriptors, a_.get());
    std::vector<char> control(CMSG_SPACE(descriptors * sizeof(int)));
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (descriptors != 0) {
      header.msg_control = control.data();
      header.msg_controllen = control.size();
      cmsghdr* c = CMSG_FIRSTHDR(&header);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(descriptors * sizeof(int));
      std::memcpy(CMSG_DATA(c), fds.data(), descriptors * sizeof(int));
    }
    ASSERT_EQ(::sendmsg(a_.get(), &header, MSG_NOSIGNAL), static_cast<ssize_t>(size));
  }
  UniqueFd a_;
  UniqueFd b_;
};

TEST_F(Datagram, CarriesBytesAndDescriptorsThatCloseOnExec) {
  for (std::size_t count = 0; count <= kMaxDescriptors; count++) {
    const std::size_t before = open_descriptors();
    {
      const std::vector<int> fds(count, a_.get());
      ASSERT_TRUE(send_datagram(a_.get(), as_bytes("frame"), fds));
      const auto got = receive_datagram(b_.get(), false);
      ASSERT_TRUE(got);
      EXPECT_EQ(as_text(got->bytes), "frame");
      ASSERT_EQ(got->descriptors.size(), count);
      struct stat ours{};
      ASSERT_EQ(::fstat(a_.get(), &ours), 0);
      for (const UniqueFd& fd : got->descriptors) {
        struct stat theirs{};
        ASSERT_EQ(::fstat(fd.get(), &theirs), 0);
        EXPECT_EQ(theirs.st_ino, ours.st_ino);
        EXPECT_EQ(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
      }
    }
    EXPECT_EQ(open_descriptors(), before);
  }
}

TEST_F(Datagram, TooManyDescriptorsAreRefusedAndNoneStaysOpen) {
  const std::vector<int> five(kMaxDescriptors + 1, a_.get());
  EXPECT_EQ(send_datagram(a_.get(), as_bytes("x"), five).error().code, ErrorCode::too_large);
  (void)receive_datagram(b_.get(), true);  // what this thread makes once is made
  const std::size_t before = open_descriptors();
  for (const std::size_t count : {std::size_t{5}, std::size_t{6}, std::size_t{200}}) {
    send_raw(3, count);
    const auto got = receive_datagram(b_.get(), false);
    ASSERT_FALSE(got) << count;
    EXPECT_EQ(got.error().code, ErrorCode::too_large);
    EXPECT_EQ(open_descriptors(), before) << count;
  }
  ASSERT_TRUE(send_datagram(a_.get(), as_bytes("next")));  // the socket goes on
  EXPECT_EQ(as_text(receive_datagram(b_.get(), false)->bytes), "next");
}

TEST_F(Datagram, TheLargestMessageFitsAndOneByteMoreDoesNot) {
  ASSERT_TRUE(send_datagram(a_.get(), Bytes(kMaxMessage, std::byte{3})));
  const auto got = receive_datagram(b_.get(), false);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->bytes.size(), kMaxMessage);
  EXPECT_EQ(got->bytes.back(), std::byte{3});
  EXPECT_EQ(send_datagram(a_.get(), Bytes(kMaxMessage + 1)).error().code, ErrorCode::too_large);
  (void)receive_datagram(b_.get(), true);
  const std::size_t before = open_descriptors();
  send_raw(kMaxMessage + 1, 2);
  const auto over = receive_datagram(b_.get(), false);
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().code, ErrorCode::too_large);
  EXPECT_EQ(open_descriptors(), before);
}

// What a checkpoint can be at most must fit, or a device could not be started or kept.
TEST_F(Datagram, TheLargestStartFits) {
  Start start;
  start.name.assign(63, 'n');
  start.checkpoint.permanent.resize(kMaxPermanentState);
  start.checkpoint.volatile_state.resize(kMaxVolatileState);
  start.checkpoint.reply.resize(kMaxReply);
  start.measurements.resize(kMaxEvents);
  Redo& redo = start.checkpoint.redo.emplace_back();
  redo.command.resize(kMaxRedo - encoded_size(redo));
  const SecretBytes bytes = encode(Message{start});
  ASSERT_LE(bytes.size(), kMaxMessage);
  ASSERT_TRUE(send_datagram(a_.get(), bytes));
  EXPECT_TRUE(decode(receive_datagram(b_.get(), false)->bytes));
}

TEST_F(Datagram, NothingWaitingAndNoRoomAreBusy) {
  EXPECT_EQ(receive_datagram(b_.get(), true).error().code, ErrorCode::busy);
  Result<void> sent;
  int count = 0;
  while ((sent = send_datagram(a_.get(), Bytes(10'000), {}, true)) && count < 1000) count++;
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, ErrorCode::busy);
  EXPECT_GT(count, 1);
}

TEST_F(Datagram, AClosedPeerIsAnEmptyMessageAndAnErrorToASender) {
  a_.reset();
  const auto got = receive_datagram(b_.get(), false);
  ASSERT_TRUE(got);
  EXPECT_TRUE(got->bytes.empty());
  const auto sent = send_datagram(b_.get(), as_bytes("x"));  // and no SIGPIPE
  ASSERT_FALSE(sent);
  EXPECT_NE(sent.error().code, ErrorCode::busy);
}

TEST_F(Datagram, WhatWasSentBeforeTheCloseStillArrives) {
  ASSERT_TRUE(send_datagram(a_.get(), as_bytes("last words")));
  a_.reset();
  EXPECT_EQ(as_text(receive_datagram(b_.get(), true)->bytes), "last words");
  EXPECT_TRUE(receive_datagram(b_.get(), true)->bytes.empty());
}

}  // namespace
}  // namespace vtpm::privsep
