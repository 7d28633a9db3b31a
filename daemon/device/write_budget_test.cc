// SPDX-License-Identifier: Apache-2.0
#include "device/write_budget.h"

#include <gtest/gtest.h>

namespace vtpm::device {
namespace {

using namespace std::chrono_literals;
using Time = WriteBudget::Time;
using Duration = WriteBudget::Duration;

constexpr Time kStart = Time(1000h);

TEST(WriteBudget, ABurstIsFreeAndThenThePaceIsTheLimit) {
  WriteBudget budget({.per_second = 20, .burst = 3}, 1s);
  Time now = kStart;
  for (int i = 0; i < 3; i++) EXPECT_EQ(budget.take(now), 0s);
  // Each one waits for the one before it, as a worker does.
  for (int i = 0; i < 100; i++) {
    const Duration wait = budget.take(now);
    EXPECT_EQ(wait, 50ms) << i;
    now += wait;
  }
}

TEST(WriteBudget, WhatIsNotUsedComesBackUpToTheBurst) {
  WriteBudget budget({.per_second = 10, .burst = 4}, 1s);
  Time now = kStart;
  for (int i = 0; i < 5; i++) (void)budget.take(now);
  now += 300ms;
  EXPECT_EQ(budget.take(now), 0s);
  EXPECT_EQ(budget.take(now), 0s);
  EXPECT_EQ(budget.take(now), 100ms);
  now += 24h;
  for (int i = 0; i < 4; i++) EXPECT_EQ(budget.take(now), 0s);
  EXPECT_EQ(budget.take(now), 100ms);
}

// A worker that does not wait for the answer, or time-outs that leave little room.
TEST(WriteBudget, NoWaitIsLongerThanTheLongest) {
  WriteBudget budget({.per_second = 1, .burst = 1}, 200ms);
  EXPECT_EQ(budget.take(kStart), 0s);
  for (int i = 0; i < 1000; i++) EXPECT_EQ(budget.take(kStart), 200ms);
  EXPECT_EQ(budget.take(kStart + 1s), 200ms);
  EXPECT_EQ(budget.take(kStart + 10s), 0s);
}

TEST(WriteBudget, WithoutALimitNothingWaits) {
  WriteBudget budget({.per_second = 0, .burst = 1}, 1s);
  for (int i = 0; i < 1000; i++) EXPECT_EQ(budget.take(kStart), 0s);
}

}  // namespace
}  // namespace vtpm::device
