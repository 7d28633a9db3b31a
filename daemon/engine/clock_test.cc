// SPDX-License-Identifier: Apache-2.0
#include "engine/clock.h"

#include <gtest/gtest.h>

#include <chrono>

#include "engine/engine.h"
#include "engine/state_blob.h"
#include "engine/test_commands.h"

namespace vtpm::engine {
namespace {

using namespace testing;
using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr std::uint32_t kReadClock = 0x181, kNvDefine = 0x12a, kNvRead = 0x14e,
                        kLockoutParameters = 0x13a;
constexpr std::uint32_t kRcLockout = 0x921, kRcAuthFail = 0x98e;
constexpr std::uint32_t kNvIndex = 0x01500001;
constexpr milliseconds kDay = 24h;

// A host whose clocks the test moves.
struct FakeHost {
  milliseconds wall = 480000h, running = 5h, since_boot = 5h;
};
FakeHost host;

int fake_clock(clockid_t id, timespec* now) {
  const milliseconds time = id == CLOCK_REALTIME    ? host.wall
                            : id == CLOCK_MONOTONIC ? host.running
                                                    : host.since_boot;
  now->tv_sec = time / 1s;
  now->tv_nsec = time % 1s / std::chrono::nanoseconds(1);
  return 0;
}

class Clock : public ::testing::Test {
 protected:
  void SetUp() override {
    host = {};
    set_host_clock(fake_clock);
    tpm_ = must_start({.origin = Origin::fresh});
    ASSERT_EQ(startup(*tpm_), 0U);
  }
  void TearDown() override {
    tpm_.reset();
    set_host_clock(nullptr);
  }

  static void pass(milliseconds time) {
    host.wall += time;
    host.running += time;
    host.since_boot += time;
  }
  static void sleep(milliseconds time) {
    host.wall += time;
    host.since_boot += time;
  }
  static void step_wall(milliseconds by) { host.wall += by; }

  // TPM2_ReadClock: Time, since the power came on, and Clock, since manufacture.
  struct Read {
    milliseconds time{}, clock{};
    bool operator==(const Read&) const = default;
  };
  Read read() {
    const Reply reply = run(*tpm_, kReadClock, {}, 0);
    EXPECT_EQ(reply.rc, 0U);
    Reader in(reply.body);
    const auto time = static_cast<std::int64_t>(in.u64());
    return {milliseconds(time), milliseconds(static_cast<std::int64_t>(in.u64()))};
  }
  // What `happens` is worth to the TPM, on both of its clocks.
  template <typename F>
  milliseconds elapsed(F happens) {
    const Read before = read();
    happens();
    const Read after = read();
    EXPECT_EQ(after.time - before.time, after.clock - before.clock);
    return after.clock - before.clock;
  }

  void save() {
    permanent_ = tpm_->permanent().value();
    volatile_ = tpm_->volatile_state().value();
    tpm_.reset();
  }
  void resume(bool sole_continuation = true) {
    tpm_ = must_start({Origin::restore, permanent_, volatile_, sole_continuation});
  }

  // One wrong guess locks; `heal` takes it back.
  void lock_out(std::chrono::seconds heal) {
    const auto recovery = static_cast<std::uint32_t>(heal.count());
    ASSERT_EQ(run(*tpm_, kLockoutParameters, {kLockout}, 1,
                  Parameters().u32(1).u32(recovery).u32(recovery).bytes)
                  .rc,
              0U);
    const Bytes secret(4, std::byte{7});
    constexpr std::uint32_t auth_read_and_write = 0x00040004;
    Parameters index;
    index.u32(kNvIndex).u16(0x0b).u32(auth_read_and_write).u16(0).u16(8);
    ASSERT_EQ(
        run(*tpm_, kNvDefine, {kOwner}, 1, Parameters().sized(secret).sized(index.bytes).bytes).rc,
        0U);
    ASSERT_EQ(guess(), kRcAuthFail);
    ASSERT_EQ(guess(), kRcLockout);
  }
  std::uint32_t guess() {
    return run(*tpm_, kNvRead, {kNvIndex, kNvIndex}, 1, Parameters().u16(8).u16(0).bytes).rc;
  }

  std::unique_ptr<Engine> tpm_;
  SecretBytes permanent_, volatile_;
};

TEST_F(Clock, CountsTheTimeThatPasses) {
  EXPECT_EQ(elapsed([] { pass(90s); }), 90s);
  EXPECT_EQ(elapsed([] {}), 0s);
}

TEST_F(Clock, CountsTheTimeThatTheHostSleeps) {
  EXPECT_EQ(elapsed([] { sleep(2h); }), 2h);
  EXPECT_EQ(elapsed([this] {
              save();
              sleep(2h);
              resume();
            }),
            2h);
}

TEST_F(Clock, DoesNotFollowStepsOfTheWallClock) {
  for (const milliseconds step : {kDay, -kDay, 365 * kDay, -730 * kDay}) {
    EXPECT_EQ(elapsed([step] {
                step_wall(step);
                pass(1s);
              }),
              1s);
    EXPECT_EQ(elapsed([this, step] {
                pass(1s);
                save();
                step_wall(step);
                pass(1s);
                resume();
                pass(1s);
              }),
              3s);
  }
}

TEST_F(Clock, ALockoutOutlastsAStepOfTheWallClock) {
  lock_out(100s);
  step_wall(kDay);
  EXPECT_EQ(guess(), kRcLockout);
  save();
  step_wall(kDay);
  resume();
  EXPECT_EQ(guess(), kRcLockout);
  save();
  step_wall(-2 * kDay);
  resume();
  pass(99s);
  EXPECT_EQ(guess(), kRcLockout);
  pass(1s);
  EXPECT_EQ(guess(), kRcAuthFail);  // healed, and wrong again
}

TEST_F(Clock, ALockoutHealsWhileTheHostSleeps) {
  lock_out(100s);
  sleep(100s);
  EXPECT_EQ(guess(), kRcAuthFail);
  save();
  sleep(100s);
  resume();
  EXPECT_EQ(guess(), kRcAuthFail);
}

// A copy that goes on elsewhere, on a host that booted earlier or later.
TEST_F(Clock, NeitherJumpsNorGoesBackOnAnotherBoot) {
  lock_out(100s);
  for (const milliseconds other_boot : {milliseconds(1min), milliseconds(1000h)}) {
    EXPECT_EQ(elapsed([this, other_boot] {
                save();
                host.since_boot = host.running = other_boot;
                resume(false);
                pass(1s);
              }),
              1s);
    EXPECT_EQ(guess(), kRcLockout);
  }
}

// What an engine that read libc's clocks left behind, in the same boot.
TEST_F(Clock, ATimeOfTheWallClockInAStateAddsNothing) {
  const Read before = read();
  save();
  const auto wall = static_cast<std::uint64_t>(host.wall.count());
  ASSERT_TRUE(restart_clock(volatile_, wall));
  resume();
  EXPECT_EQ(read(), before);
  pass(1s);
  EXPECT_EQ(read().clock - before.clock, 1s);
}

TEST_F(Clock, GoesOnAfterAPowerCycle) {
  pass(90s);
  const milliseconds clock = read().clock;
  ASSERT_EQ(shutdown(*tpm_, false), 0U);
  step_wall(-kDay);
  ASSERT_TRUE(tpm_->power_cycle());
  ASSERT_EQ(startup(*tpm_), 0U);
  EXPECT_EQ(read(), (Read{0ms, clock}));
  pass(1s);
  EXPECT_EQ(read(), (Read{1s, clock + 1s}));
}

TEST_F(Clock, TheRestOfTheProgramReadsTheHostsClocks) {
  timespec now{};
  ASSERT_EQ(::clock_gettime(CLOCK_REALTIME, &now), 0);
  EXPECT_EQ(std::chrono::seconds(now.tv_sec), host.wall);
  step_wall(kDay);
  (void)read();
  ASSERT_EQ(::clock_gettime(CLOCK_REALTIME, &now), 0);
  EXPECT_EQ(std::chrono::seconds(now.tv_sec), host.wall);

  set_host_clock(nullptr);
  EXPECT_TRUE(check_libtpms_clock());
  const auto real = std::chrono::system_clock::now().time_since_epoch();
  EXPECT_GT(real, 2000h * 200);  // years after 1970: libc's, not the fake one's
  EXPECT_NE(real, host.wall);
  EXPECT_EQ(::clock_gettime(static_cast<clockid_t>(1000), &now), -1);
}

}  // namespace
}  // namespace vtpm::engine
