// SPDX-License-Identifier: Apache-2.0
#include "device/crash_history.h"

#include <gtest/gtest.h>

namespace vtpm::device {
namespace {

using std::chrono::seconds;
constexpr CrashHistory::Time kBegin{};

TEST(CrashHistory, TwoCrashesOnOneCommandFail) {
  CrashHistory history;
  EXPECT_FALSE(history.add(kBegin, true, 7));
  // However far apart: the frame is what kills.
  const auto why = history.add(kBegin + seconds(1000), true, 7);
  ASSERT_TRUE(why);
  EXPECT_NE(why->find("command 7"), std::string::npos);
}

TEST(CrashHistory, CrashesOnDifferentCommandsAreCountedByTheMinute) {
  CrashHistory history;
  EXPECT_FALSE(history.add(kBegin, true, 1));
  EXPECT_FALSE(history.add(kBegin + seconds(1), true, 2));
  EXPECT_TRUE(history.add(kBegin + seconds(2), true, 3));
}

TEST(CrashHistory, SlowCrashesWithoutANumberNeverFail) {
  CrashHistory history;
  for (int i = 0; i < 100; i++)
    EXPECT_FALSE(history.add(kBegin + seconds(61) * i, true, std::nullopt)) << i;
}

TEST(CrashHistory, ErrorsThatAreReportedGetMorePatience) {
  CrashHistory history;
  for (int i = 0; i < 4; i++) EXPECT_FALSE(history.add(kBegin + seconds(i), false, 9)) << i;
  EXPECT_TRUE(history.add(kBegin + seconds(5), false, 9));
}

TEST(CrashHistory, ForgetsWhenThePowerIsCycled) {
  CrashHistory history;
  EXPECT_FALSE(history.add(kBegin, true, 1));
  history.forget();
  EXPECT_FALSE(history.add(kBegin, true, 1));
}

}  // namespace
}  // namespace vtpm::device
