// SPDX-License-Identifier: Apache-2.0
#include "worker/failure_mode.h"

#include <gtest/gtest.h>

#include "frame/commands.h"
#include "worker/test_worker.h"

namespace vtpm::worker::testing {
namespace {

constexpr std::uint32_t kRcFailure = 0x101;

Bytes get_capability(std::uint32_t capability, std::uint32_t property, std::uint32_t count) {
  return command(0x17a, {}, 0, Parameters().u32(capability).u32(property).u32(count).bytes);
}

Reply answer(const Bytes& frame) {
  const Bytes reply = failure_reply(frame);
  if (reply.size() < 10 || load_be32(reply.data() + 2) != reply.size()) return {};
  return {load_be32(reply.data() + 6), Bytes(reply.begin() + 10, reply.end())};
}

TEST(FailureMode, EveryCommandButTwoIsAFailure) {
  for (std::uint32_t code = 0; code < 0x300; code++) {
    if (code == 0x17a || code == 0x17c) continue;
    EXPECT_EQ(answer(command(code, {}, 0)).rc, kRcFailure) << code;
  }
  for (const char* frame :
       {"", "80", "8001", "80010000000a", "80010000000b0000017c", "80020000000a0000017c",
        "80010000000c0000017c0000", "8001000000160000017a000000060000010500000001ff"})
    EXPECT_EQ(to_hex(failure_reply(*from_hex(frame))), "80010000000a00000101") << frame;
  EXPECT_EQ(answer(command(0x17a, {}, 0)).rc, kRcFailure) << "cut short";
  EXPECT_EQ(answer(get_capability(5, 0, 1)).rc, kRcFailure) << "PCR banks are state";
}

TEST(FailureMode, TheTestResultIsAFailure) {
  EXPECT_EQ(to_hex(failure_reply(command(0x17c, {}, 0))), "80010000001000000000000000000101");
}

TEST(FailureMode, ItSaysWhatKindOfTpmThisIs) {
  const auto tpm = engine::Engine::start({.origin = engine::Origin::blank});
  ASSERT_TRUE(tpm) << tpm.error().message;
  ASSERT_EQ(engine::testing::startup(**tpm), 0U);
  const Reply healthy = engine::testing::run(**tpm, get_capability(6, 0x105, 8));
  const Reply failed = answer(get_capability(6, 0x105, 8));
  ASSERT_EQ(failed.rc, 0U);
  EXPECT_EQ(to_hex(ByteView(failed.body).subspan(1)), to_hex(ByteView(healthy.body).subspan(1)));
  EXPECT_EQ(failed.body[0], std::byte{0}) << "nothing follows in failure mode";

  EXPECT_EQ(answer(get_capability(6, 0, 0xffffffff)).body, failed.body);
  EXPECT_EQ(to_hex(answer(get_capability(6, 0x106, 1)).body),
            "01000000060000000100000106"
            "53572020");
  EXPECT_EQ(to_hex(answer(get_capability(6, 0x10d, 9)).body), "000000000600000000");
  EXPECT_EQ(to_hex(answer(get_capability(6, 0xffffffff, 9)).body), "000000000600000000");
  EXPECT_EQ(to_hex(answer(get_capability(6, 0x105, 0)).body), "010000000600000000");
}

TEST_F(WorkerTest, AWorkerInFailureModeServesWithoutAStateUntilItIsStopped) {
  start_.failed = true;
  launch();
  expect<privsep::Ready>();
  const Client client(data_path());
  EXPECT_EQ(client.run(read_pcr(0)).rc, kRcFailure);
  EXPECT_EQ(client.run(extend(0, 1)).rc, kRcFailure);
  EXPECT_EQ(client.run(define_space(0x01000001)).rc, kRcFailure);
  EXPECT_EQ(client.run(command(0x17c, {}, 0)).rc, 0U);
  const Client host(data_path() + ".ctrl");
  host.send(*from_hex("0000000200000000"));  // CMD_INIT
  std::array<std::byte, 4> result{};
  ASSERT_TRUE(host.has_reply(10'000));
  ASSERT_EQ(::recv(host.fd(), result.data(), result.size(), 0), 4);
  EXPECT_NE(load_be32(result.data()), 0U) << "it is not for the host's tools to power it on";
  EXPECT_EQ(client.run(read_pcr(0)).rc, kRcFailure);
  tell(privsep::Stop{privsep::Stop::How::power_off});
  EXPECT_FALSE(expect<privsep::Stopped>().asked_by_host);
  EXPECT_EQ(status(), 0);
}

TEST_F(WorkerTest, AWorkerInFailureModeCanBeShutDownByItsHost) {
  start_.failed = true;
  launch();
  expect<privsep::Ready>();
  const Client host(data_path() + ".ctrl");
  host.send(*from_hex("00000003"));  // CMD_SHUTDOWN
  EXPECT_TRUE(expect<privsep::Stopped>().asked_by_host);
  EXPECT_EQ(status(), 0);
}

TEST_F(WorkerTest, AWorkerInFailureModeTakesNoJournal) {
  start_.failed = true;
  launch(false);
  expect<privsep::Failed>();
  EXPECT_NE(status(), 0);
}

}  // namespace
}  // namespace vtpm::worker::testing
