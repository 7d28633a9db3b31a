// SPDX-License-Identifier: Apache-2.0
// A worker that is told to rest: it goes if no client of its sockets would notice.
#include <gtest/gtest.h>

#include "worker/test_worker.h"

namespace vtpm::worker::testing {
namespace {

using privsep::Stop;
using privsep::Stopped;
using privsep::TellUse;
using privsep::Use;

class RestTest : public WorkerTest {
 protected:
  Use use() {
    tell(TellUse{});
    return expect<Use>();
  }
  // The worker hears of a client's end a moment later.
  bool left_alone(int looks = 200) {
    for (int i = 0; i < looks; i++) {
      if (!use().connected) return true;
      ::usleep(10'000);
    }
    return false;
  }
  Use refusal() {
    tell(Stop{Stop::How::rest});
    return expect<Use>();
  }
  // One request to the host's control channel, whose answer is four bytes; commits are granted.
  Bytes host_asks(const Bytes& request) {
    const Client host(data_path() + ".ctrl");
    host.send(request);
    Bytes answer(4);
    for (int i = 0; i < 400 && !host.has_reply(0); i++)
      if (readable(manager_.get(), 50)) grant();
    if (!host.has_reply(0)) return {};
    answer.resize(std::max<ssize_t>(0, ::recv(host.fd(), answer.data(), answer.size(), 0)));
    return answer;
  }
};

Bytes set_locality(std::uint8_t locality) { return Parameters().u32(5).u8(locality).bytes; }

TEST_F(RestTest, ItStaysAsLongAsAClientIsConnectedAndServesOn) {
  launch();
  ready();
  EXPECT_FALSE(use().connected);
  {
    const Client client(data_path());
    EXPECT_EQ(client.run(extend(7, 0x42)).rc, 0U);
    EXPECT_TRUE(use().connected);
    EXPECT_FALSE(use().stays) << "nobody told it to go";
    EXPECT_TRUE(refusal().stays);
    EXPECT_EQ(client.run(extend(7, 0x43)).rc, 0U);
    EXPECT_EQ(use().sequence, 2U);
  }
  ASSERT_TRUE(left_alone());
  tell(Stop{Stop::How::rest});
  EXPECT_EQ(expect<Stopped>().sequence, 2U);
  EXPECT_EQ(status(), 0);
}

TEST_F(RestTest, ItStaysAsLongAsItsChannelIsNotAsAFreshOne) {
  launch();
  ready();
  const Bytes success(4);
  EXPECT_EQ(host_asks(set_locality(3)), success);
  EXPECT_FALSE(left_alone(20)) << "the next worker would not know the locality";
  EXPECT_TRUE(refusal().stays);
  EXPECT_EQ(host_asks(set_locality(0)), success);
  ASSERT_TRUE(left_alone());
  EXPECT_EQ(host_asks(Parameters().u32(0x0e).bytes), success);
  EXPECT_FALSE(left_alone(20)) << "nor that it was stopped";
  EXPECT_TRUE(refusal().stays);
  EXPECT_EQ(host_asks(Parameters().u32(2).u32(0).bytes), success);  // CMD_INIT
  ASSERT_TRUE(left_alone());
  tell(Stop{Stop::How::rest});
  expect<Stopped>();
  EXPECT_EQ(status(), 0);
}

TEST_F(RestTest, ToldToParkItGoesWhoeverIsConnected) {
  launch();
  ready();
  const Client client(data_path());
  EXPECT_EQ(client.run(extend(7, 0x42)).rc, 0U);
  tell(Stop{Stop::How::park});
  expect<Stopped>();
  EXPECT_EQ(status(), 0);
}

}  // namespace
}  // namespace vtpm::worker::testing
