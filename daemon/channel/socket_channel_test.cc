// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <chrono>

#include "channel/socket_test_peer.h"

namespace vtpm::channel {
namespace {

using namespace std::chrono_literals;

constexpr const char* kCommandSize = "80010000000a00000142";
constexpr const char* kFailure = "80010000000a00000101";

// Sends one request with descriptors beside its first byte.
bool put_with_fds(const UniqueFd& to, std::string_view hex, std::vector<int> fds) {
  Bytes bytes = *from_hex(hex);
  iovec data{.iov_base = bytes.data(), .iov_len = bytes.size()};
  std::vector<std::byte> ancillary(CMSG_SPACE(sizeof(int) * fds.size()));
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = ancillary.data();
  message.msg_controllen = ancillary.size();
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
  std::memcpy(CMSG_DATA(c), fds.data(), sizeof(int) * fds.size());
  return ::sendmsg(to.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

struct Pair {
  UniqueFd ours;
  UniqueFd theirs;
  explicit Pair(int type = SOCK_STREAM) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends), 0);
    ours.reset(ends[0]);
    theirs.reset(ends[1]);
    timeval limit{.tv_sec = 10, .tv_usec = 0};
    EXPECT_EQ(::setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
  }
};

using SocketData = ServedSocket;
using SocketControl = ServedSocket;

TEST_F(SocketData, FramesAreNumberedFromTheFirstSequenceOn) {
  const UniqueFd client = data();
  ASSERT_TRUE(put(client, make_frame(12, 12)));
  EXPECT_EQ(load_be64(get_reply(client).data() + 11), kFirstSequence + 1);
  ASSERT_TRUE(put(client, make_frame(12, 12)));
  EXPECT_EQ(load_be64(get_reply(client).data() + 11), kFirstSequence + 2);
}

TEST_F(SocketData, SmallestAndLargestFrame) {
  const UniqueFd client = data();
  ASSERT_TRUE(put(client, make_frame(10, 10)));
  EXPECT_EQ(get_reply(client).size(), 29U);
  ASSERT_TRUE(put(client, make_frame(4096, 4096)));
  EXPECT_EQ(get_reply(client).size(), 4096U);
  EXPECT_EQ(ask(client), 0);
}

TEST_F(SocketData, AFrameInPiecesAndSeveralInOne) {
  const UniqueFd client = data();
  const Bytes frame = make_frame(14, 14);
  for (std::byte b : frame) {
    ASSERT_TRUE(put(client, ByteView(&b, 1)));
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(get_reply(client).size(), 33U);

  Bytes three;
  Writer(three)
      .bytes(frame)
      .bytes(make_frame(4000, 4000))
      .bytes(frame)
      .bytes(ByteView(frame).first(5));
  ASSERT_TRUE(put(client, three));
  EXPECT_EQ(get_reply(client).size(), 33U);
  EXPECT_EQ(get_reply(client).size(), 4019U);
  EXPECT_EQ(get_reply(client).size(), 33U);
  ASSERT_TRUE(put(client, ByteView(frame).subspan(5)));
  EXPECT_EQ(get_reply(client).size(), 33U);
}

TEST_F(SocketData, BadLengthIsAnsweredAndEndsTheConnection) {
  for (std::uint32_t length : {0U, 1U, 9U, 4097U, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
    const UniqueFd client = data();
    ASSERT_TRUE(put(client, make_frame(length, 10)));
    EXPECT_EQ(get_hex(client, 10), kCommandSize) << length;
    EXPECT_TRUE(at_end(client)) << length;
  }
  EXPECT_EQ(frames_, 0);
  EXPECT_EQ(ask(data()), 0);
}

TEST_F(SocketData, HalfAFrameLosesOnlyItsSender) {
  for (std::size_t size : {0U, 1U, 5U, 6U, 9U, 11U}) {
    const UniqueFd client = data();
    ASSERT_TRUE(put(client, ByteView(make_frame(12, 12)).first(size)));
  }
  EXPECT_EQ(ask(data()), 0);
  EXPECT_EQ(frames_, 1);
}

TEST_F(SocketData, ClientsWaitTheirTurn) {
  UniqueFd first = data();
  EXPECT_EQ(ask(first), 0);
  const UniqueFd second = data();
  ASSERT_TRUE(put(second, make_frame(12, 12)));
  EXPECT_EQ(ask(first), 0);
  EXPECT_EQ(frames_, 2);
  first.reset();
  EXPECT_EQ(get_reply(second).size(), 31U);
}

TEST_F(SocketData, AReplyToAClientThatLeftIsDropped) {
  for (int i = 0; i < 20; ++i) {
    const UniqueFd client = data();
    ASSERT_TRUE(put(client, make_frame(4096, 4096)));
  }
  EXPECT_EQ(ask(data()), 0);
}

TEST_F(SocketData, AClientThatNeverReadsBlocksNobodyElse) {
  UniqueFd greedy = data();
  const Bytes frame = make_frame(4096, 4096);
  // Until neither its replies nor its commands fit anywhere.
  for (;;) {
    if (::send(greedy.get(), frame.data(), frame.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
      std::this_thread::sleep_for(50ms);
      if (::send(greedy.get(), frame.data(), frame.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) break;
    }
  }
  const UniqueFd host = control();
  ASSERT_TRUE(put_hex(host, "00000001"));
  EXPECT_EQ(get(host, 8).size(), 8U);
  const int before = frames_;
  // It begins to read: all its replies are there, whole and in order.
  for (int i = 0; i < before; ++i) ASSERT_EQ(get_reply(greedy).size(), 4096U) << i;
  greedy.reset();
  EXPECT_EQ(ask(data()), 0);
}

TEST_F(SocketControl, ProtocolTable) {
  struct Case {
    const char* request;
    const char* answer;
  };
  const Case cases[] = {
      {"00000001", "0000000000003caf"},
      {"0000000200000000", "00000000"},
      {"0000000200000001", "00000000"},
      {"0000000200000002", "00000003"},
      {"00000004", "0000000000000000"},
      {"0000000500", "00000000"},
      {"0000000504ffffff", "00000000"},
      {"0000000505", "0000003d"},
      {"00000005ff", "0000003d"},
      {"00000006", "0000000a"},
      {"00000008", "0000000a"},
      {"00000009", "00000000"},
      {"0000000a", "0000000a"},
      {"0000000b03", "00000000"},
      {"0000000b05000000", "0000003d"},
      {"0000000c000000000000000100000000", "0000000a"},
      {"0000000f", "0000000000000000"},
      {"00000010", "00000003"},
      {"0000001100000000", "00000000000010000000100000001000"},
      {"0000001100000f80", "00000000000010000000100000001000"},
      {"0000001200000000000000010000000000000000", "0000000a"},
  };
  const UniqueFd host = control();
  for (const Case& c : cases) {
    ASSERT_TRUE(put_hex(host, c.request));
    EXPECT_EQ(get_hex(host, std::strlen(c.answer) / 2), c.answer) << c.request;
  }
  EXPECT_EQ(inits_, 2);
  EXPECT_EQ(resets_, 1);
  EXPECT_EQ(reset_locality_, 3);
}

TEST_F(SocketControl, UnknownRequestsAreRefusedAndEndTheConnection) {
  for (const char* request : {"00000000", "00000013", "deadbeef", "0000000700000004aabbccdd",
                              "0000000d000000000000000100000000"}) {
    const UniqueFd host = control();
    ASSERT_TRUE(put_hex(host, request));
    EXPECT_EQ(get_hex(host, 4), "0000000a") << request;
    EXPECT_TRUE(at_end(host)) << request;
  }
  EXPECT_EQ(ask(data()), 0);
}

TEST_F(SocketControl, LocalityHoldsAcrossClients) {
  EXPECT_EQ(ask(data()), 0);
  for (int locality : {1, 2, 3, 4, 0}) {
    const UniqueFd host = control();
    ASSERT_TRUE(put_hex(host, "000000050" + std::to_string(locality)));
    EXPECT_EQ(get_hex(host, 4), "00000000");
    EXPECT_EQ(ask(data()), locality);
    EXPECT_EQ(ask(data()), locality);
  }
}

TEST_F(SocketControl, StoppedUntilInit) {
  const UniqueFd host = control();
  const UniqueFd client = data();
  EXPECT_EQ(ask(client), 0);
  ASSERT_TRUE(put_hex(host, "0000000e"));
  EXPECT_EQ(get_hex(host, 4), "00000000");
  ASSERT_TRUE(put(client, make_frame(12, 12)));
  EXPECT_EQ(get_hex(client, 10), kFailure);
  for (const char* request : {"00000009", "0000000b01"}) {
    ASSERT_TRUE(put_hex(host, request));
    EXPECT_EQ(get_hex(host, 4), "0000000a") << request;
  }
  ASSERT_TRUE(put_hex(host, "00000004"));
  EXPECT_EQ(get_hex(host, 8), "0000000a00000000");
  EXPECT_EQ(frames_, 1);

  ASSERT_TRUE(put_hex(host, "0000000200000000"));
  EXPECT_EQ(get_hex(host, 4), "00000000");
  EXPECT_EQ(ask(client), 0);
}

TEST_F(SocketControl, AFailedInitLeavesItStopped) {
  const UniqueFd host = control();
  control_ok_ = false;
  ASSERT_TRUE(put_hex(host, "0000000200000000"));
  EXPECT_EQ(get_hex(host, 4), "00000009");
  const UniqueFd client = data();
  ASSERT_TRUE(put(client, make_frame(12, 12)));
  EXPECT_EQ(get_hex(client, 10), kFailure);
}

TEST_F(SocketControl, EstablishedComesFromTheEngine) {
  const UniqueFd host = control();
  established_ = true;
  ASSERT_TRUE(put_hex(host, "00000004"));
  EXPECT_EQ(get_hex(host, 8), "0000000001000000");
  control_ok_ = false;
  ASSERT_TRUE(put_hex(host, "00000004"));
  EXPECT_EQ(get_hex(host, 8), "0000000900000000");
}

TEST_F(SocketControl, ByteByByteWithQemusPadding) {
  const UniqueFd host = control();
  for (const char* hex : {"00", "00", "00", "05", "02", "00", "00", "00", "00", "00", "00", "01"}) {
    ASSERT_TRUE(put_hex(host, hex));
    std::this_thread::sleep_for(2ms);
  }
  EXPECT_EQ(get_hex(host, 12), "000000000000000000003caf");
  EXPECT_EQ(ask(data()), 2);
}

TEST_F(SocketControl, AStalledRequestBlocksNoFramesAndIsGivenUp) {
  const UniqueFd stalled = control();
  ASSERT_TRUE(put_hex(stalled, "000000020000"));
  const UniqueFd client = data();
  for (int i = 0; i < 50; ++i) ASSERT_EQ(ask(client), 0);
  const UniqueFd next = control();
  ASSERT_TRUE(put_hex(next, "00000001"));
  EXPECT_EQ(get(next, 8).size(), 8U);  // after kRequestTime
  EXPECT_TRUE(at_end(stalled));
  EXPECT_EQ(inits_, 0);
}

TEST_F(SocketControl, AnIdleConnectionStays) {
  const UniqueFd host = control();
  ASSERT_TRUE(put_hex(host, "0000000501"));
  EXPECT_EQ(get_hex(host, 4), "00000000");
  std::this_thread::sleep_for(2500ms);
  ASSERT_TRUE(put_hex(host, "00000001"));
  EXPECT_EQ(get(host, 8).size(), 8U);
}

TEST_F(SocketControl, AFloodOfRequestsDoesNotStarveFrames) {
  const UniqueFd flood = control();
  Bytes requests;  // as many as have answers that fit into a socket (SO_SNDBUF) unread
  for (int i = 0; i < 200; ++i) Writer(requests).u32(0x02).u32(0);
  ASSERT_TRUE(put(flood, requests));
  const UniqueFd client = data();
  for (int i = 0; i < 100; ++i) ASSERT_EQ(ask(client), 0);
  EXPECT_EQ(get(flood, 800).size(), 800U);
  EXPECT_EQ(inits_, 200);
}

TEST_F(SocketControl, AFloodWithoutReadingIsCutOff) {
  const UniqueFd flood = control();
  Bytes requests;
  for (int i = 0; i < 1000; ++i) Writer(requests).u32(0x01);
  while (put(flood, requests)) {
  }
  const UniqueFd host = control();
  ASSERT_TRUE(put_hex(host, "00000001"));
  EXPECT_EQ(get(host, 8).size(), 8U);
}

TEST_F(SocketControl, DataFdAsQemuPassesIt) {
  const UniqueFd host = control();
  Pair pair;
  ASSERT_TRUE(put_with_fds(host, "00000010", {pair.theirs.get()}));
  EXPECT_EQ(get_hex(host, 4), "00000000");
  pair.theirs.reset();
  EXPECT_EQ(ask(pair.ours), 0);
  ASSERT_TRUE(put_hex(host, "0000000200000000"));
  EXPECT_EQ(get_hex(host, 4), "00000000");
  EXPECT_EQ(ask(pair.ours), 0);

  Pair second;  // of another VM: refused while the first is there, welcome when it has gone
  ASSERT_TRUE(put_with_fds(host, "00000010", {second.theirs.get()}));
  EXPECT_EQ(get_hex(host, 4), "0000001f");
  EXPECT_EQ(ask(pair.ours), 0);
  pair.ours.reset();
  ASSERT_TRUE(put_with_fds(host, "00000010", {second.theirs.get()}));
  EXPECT_EQ(get_hex(host, 4), "00000000");
  second.theirs.reset();
  EXPECT_EQ(ask(second.ours), 0);
  second.ours.reset();
  EXPECT_EQ(ask(data()), 0);
}

TEST_F(SocketControl, DataFdTakesTheListenersPlace) {
  const UniqueFd old = data();
  EXPECT_EQ(ask(old), 0);
  const UniqueFd host = control();
  Pair pair;
  ASSERT_TRUE(put_with_fds(host, "00000010", {pair.theirs.get()}));
  EXPECT_EQ(get_hex(host, 4), "00000000");
  EXPECT_TRUE(at_end(old));
  EXPECT_EQ(ask(pair.ours), 0);
}

TEST_F(SocketControl, DescriptorsThatAreNoDataSocketAreRefused) {
  const UniqueFd host = control();
  Pair pair;
  Pair datagram(SOCK_DGRAM);
  const UniqueFd file(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const std::vector<std::vector<int>> cases = {
      {file.get()},
      {datagram.theirs.get()},
      {pair.theirs.get(), pair.theirs.get()},
      std::vector<int>(9, pair.theirs.get()),
  };
  for (const auto& fds : cases) {
    ASSERT_TRUE(put_with_fds(host, "00000010", fds));
    EXPECT_EQ(get_hex(host, 4), "00000003");
  }
  // None of them is kept: our end sees that its peer is gone.
  pair.theirs.reset();
  EXPECT_TRUE(at_end(pair.ours));
  EXPECT_EQ(ask(data()), 0);
}

TEST(SocketChannel, WakesAndKeepsAnOwedReply) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const UniqueFd manager(ends[0]);
  const UniqueFd writer(ends[1]);
  const std::string path =
      std::filesystem::temp_directory_path() / ("channel-wake-" + std::to_string(::getpid()));
  auto channel = make_socket_channel(listen_on(path), listen_on(path + ".ctrl"), manager.get(), 0);
  EXPECT_FALSE(channel->complete_control(true, true));
  const UniqueFd client = connect_to(path);
  Bytes two = make_frame(12, 12);
  Writer(two).bytes(make_frame(12, 12));
  ASSERT_TRUE(put(client, two));
  auto event = channel->exchange(nullptr);
  ASSERT_TRUE(event);
  ASSERT_EQ(std::get<Frame>(*event).sequence, 1U);

  ASSERT_EQ(::write(writer.get(), "x", 1), 1);
  event = channel->exchange(nullptr);  // owed still: the second frame does not come
  ASSERT_TRUE(event);
  EXPECT_TRUE(std::holds_alternative<Wake>(*event));
  char c = 0;
  ASSERT_EQ(::read(manager.get(), &c, 1), 1);

  const auto header = frame::reply_header(0);
  const Reply other{.sequence = 7, .bytes = header};  // of no frame: dropped
  ASSERT_EQ(::write(writer.get(), "x", 1), 1);
  ASSERT_TRUE(channel->exchange(&other));
  std::byte nothing{};
  EXPECT_LT(::recv(client.get(), &nothing, 1, MSG_DONTWAIT), 0);
  ASSERT_EQ(::read(manager.get(), &c, 1), 1);

  const Reply reply{.sequence = 1, .bytes = header};
  event = channel->exchange(&reply);
  ASSERT_TRUE(event);
  EXPECT_EQ(std::get<Frame>(*event).sequence, 2U);
  EXPECT_EQ(get_hex(client, 10), "80010000000a00000000");
  std::filesystem::remove(path);
  std::filesystem::remove(path + ".ctrl");
}

}  // namespace
}  // namespace vtpm::channel
