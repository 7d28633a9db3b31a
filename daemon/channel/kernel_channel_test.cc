// SPDX-License-Identifier: Apache-2.0
#include "channel/kernel_channel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <deque>
#include <functional>

namespace vtpm::channel {
namespace {

// Plays the kernel: one step a system call; a step that is not there fails the test.
struct Script {
  std::deque<std::function<int(vtpm_xchg&)>> steps;
  std::vector<std::uint64_t> replies;  // sequence numbers of the replies that were offered
};

class ScriptedPort final : public XchgPort {
 public:
  explicit ScriptedPort(Script& script) : script_(script) {}
  int xchg(vtpm_xchg& call) override {
    EXPECT_EQ(call.size, sizeof(vtpm_xchg));
    EXPECT_GE(call.buf_len, static_cast<unsigned>(VTPM_FRAME_MAX));
    EXPECT_EQ(call.flags, 0U);
    EXPECT_EQ(call.reserved, 0U);
    EXPECT_EQ(call.replied, 0U);
    if (call.reply_len != 0) script_.replies.push_back(call.reply_seq);
    if (script_.steps.empty()) return ENOSYS;
    auto step = std::move(script_.steps.front());
    script_.steps.pop_front();
    return step(call);
  }

 private:
  Script& script_;
};

std::function<int(vtpm_xchg&)> command(std::uint64_t seq, std::string_view text,
                                       std::uint8_t flags = 0, std::uint8_t locality = 0) {
  return [=](vtpm_xchg& call) {
    call.replied = call.reply_len != 0;
    call.frame = {.seq = seq,
                  .len = static_cast<std::uint32_t>(text.size()),
                  .type = VTPM_FRAME_COMMAND,
                  .locality = locality,
                  .flags = flags};
    std::memcpy(reinterpret_cast<void*>(call.buf), text.data(), text.size());
    return 0;
  };
}
std::function<int(vtpm_xchg&)> notice(std::uint16_t type) {
  return [=](vtpm_xchg& call) {
    call.replied = call.reply_len != 0;
    call.frame = {.seq = 9, .len = 0, .type = type, .locality = 0, .flags = 0};
    return 0;
  };
}
std::function<int(vtpm_xchg&)> error(int code, bool replied = false) {
  return [=](vtpm_xchg& call) {
    call.replied = replied ? 1 : 0;
    return code;
  };
}

class KernelChannel : public ::testing::Test {
 protected:
  Script script;
  std::unique_ptr<Channel> channel = make_kernel_channel(std::make_unique<ScriptedPort>(script));
  const Bytes reply_bytes = to_bytes(as_bytes("0123456789"));
  const Reply reply{.sequence = 7, .bytes = reply_bytes};
};

TEST_F(KernelChannel, HandsOutAFrameWithItsFlags) {
  script.steps = {command(8, "hello tpm!", VTPM_FRAME_F_REDELIVERED, 3)};
  auto event = channel->exchange(nullptr);
  ASSERT_TRUE(event);
  const auto& frame = std::get<Frame>(*event);
  EXPECT_EQ(frame.sequence, 8U);
  EXPECT_EQ(frame.locality, 3);
  EXPECT_TRUE(frame.redelivered);
  EXPECT_FALSE(frame.bootstrap);
  EXPECT_EQ(as_text(frame.bytes), "hello tpm!");

  script.steps = {command(9, "x", VTPM_FRAME_F_BOOTSTRAP)};
  event = channel->exchange(nullptr);
  ASSERT_TRUE(event);
  EXPECT_TRUE(std::get<Frame>(*event).bootstrap);
  EXPECT_FALSE(std::get<Frame>(*event).redelivered);
}

TEST_F(KernelChannel, OneSystemCallACommand) {
  script.steps = {command(8, "a")};
  ASSERT_TRUE(channel->exchange(&reply));
  EXPECT_TRUE(script.steps.empty());
  EXPECT_THAT(script.replies, ::testing::ElementsAre(7));
}

TEST_F(KernelChannel, AnInterruptedWaitDoesNotReplyTwice) {
  script.steps = {error(EINTR, /*replied=*/true), error(EINTR), command(8, "a")};
  ASSERT_TRUE(channel->exchange(&reply));
  EXPECT_THAT(script.replies, ::testing::ElementsAre(7));
}

TEST_F(KernelChannel, AReplyThatWasNotTakenIsOfferedAgain) {
  script.steps = {error(EINTR, /*replied=*/false), command(8, "a")};
  ASSERT_TRUE(channel->exchange(&reply));
  EXPECT_THAT(script.replies, ::testing::ElementsAre(7, 7));
}

TEST_F(KernelChannel, AStaleReplyIsDropped) {
  script.steps = {error(ESTALE), command(8, "a")};
  auto event = channel->exchange(&reply);
  ASSERT_TRUE(event);
  EXPECT_EQ(std::get<Frame>(*event).sequence, 8U);
  EXPECT_THAT(script.replies, ::testing::ElementsAre(7));
}

TEST_F(KernelChannel, StaleWithoutAReplyIsAnErrorAndNoLoop) {
  script.steps = {error(ESTALE)};
  EXPECT_FALSE(channel->exchange(nullptr));
}

TEST_F(KernelChannel, ClosedTellsFencedFromGone) {
  script.steps = {error(EPIPE), error(ESHUTDOWN)};
  auto event = channel->exchange(&reply);
  ASSERT_TRUE(event);
  EXPECT_TRUE(std::get<Closed>(*event).fenced);
  event = channel->exchange(&reply);
  ASSERT_TRUE(event);
  EXPECT_FALSE(std::get<Closed>(*event).fenced);
}

TEST_F(KernelChannel, WakeReturnsAndCancelIsPassedOver) {
  script.steps = {notice(VTPM_FRAME_WAKE)};
  auto event = channel->exchange(&reply);
  ASSERT_TRUE(event);
  EXPECT_TRUE(std::holds_alternative<Wake>(*event));

  script.replies.clear();
  script.steps = {notice(VTPM_FRAME_CANCEL), notice(77), command(8, "a")};
  event = channel->exchange(&reply);
  ASSERT_TRUE(event);
  EXPECT_TRUE(std::holds_alternative<Frame>(*event));
  EXPECT_THAT(script.replies, ::testing::ElementsAre(7));  // with the first call alone
}

TEST_F(KernelChannel, RefusedAndUnknownErrnosAreErrors) {
  for (int code : {EBADMSG, EMSGSIZE, ENOTTY, EFAULT, EAGAIN}) {
    script.steps = {error(code)};
    EXPECT_FALSE(channel->exchange(&reply)) << code;
    EXPECT_TRUE(script.steps.empty());
  }
}

TEST_F(KernelChannel, EmptyAndHugeRepliesNeverReachTheKernel) {
  const Reply empty{.sequence = 7, .bytes = {}};
  EXPECT_FALSE(channel->exchange(&empty));
  const Bytes huge(VTPM_FRAME_MAX + 1);
  const Reply too_long{.sequence = 7, .bytes = huge};
  EXPECT_FALSE(channel->exchange(&too_long));
  EXPECT_TRUE(script.replies.empty());
}

TEST_F(KernelChannel, AFrameLongerThanTheBufferIsAnError) {
  script.steps = {[](vtpm_xchg& call) {
    call.frame = {
        .seq = 1, .len = VTPM_FRAME_MAX + 1, .type = VTPM_FRAME_COMMAND, .locality = 0, .flags = 0};
    return 0;
  }};
  EXPECT_FALSE(channel->exchange(nullptr));
}

TEST_F(KernelChannel, TheLastCommandIsWipedBeforeTheNext) {
  script.steps = {command(8, "a password"), [](vtpm_xchg& call) {
                    const ByteView old(reinterpret_cast<const std::byte*>(call.buf), 10);
                    EXPECT_EQ(to_bytes(old), Bytes(10));
                    return EPIPE;
                  }};
  ASSERT_TRUE(channel->exchange(nullptr));
  ASSERT_TRUE(channel->exchange(&reply));
}

TEST(KernelChannelFd, AnythingButAnEngineFdIsUnavailable) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  UniqueFd other(ends[1]);
  auto channel = make_kernel_channel(UniqueFd(ends[0]));
  auto event = channel->exchange(nullptr);
  ASSERT_FALSE(event);
  EXPECT_EQ(event.error().code, ErrorCode::unavailable);
  EXPECT_FALSE(channel->complete_control(true, false));
}

}  // namespace
}  // namespace vtpm::channel
