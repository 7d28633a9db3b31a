// SPDX-License-Identifier: Apache-2.0
// A device that changes its permanent state in a loop slows itself down, and nobody else.
#include <future>

#include "device/test_host.h"

namespace vtpm::device {
namespace {

using namespace testing;
using namespace std::chrono_literals;

// HierarchyChangeAuth of the owner, from empty to empty: libtpms stores its state each time.
constexpr std::string_view kPermanentWrite =
    "80020000001d00000129400000010000000940000009000000"
    "00000000";
constexpr std::string_view kSuccess = "80020000001300000000000000000000010000";

class WriteLimitTest : public ManagerTest {
 protected:
  void SetUp() override {
    write_limit_ = {.per_second = 1, .burst = 4};
    open();
  }
  // Started, and with an empty bucket: its next write waits.
  View create_spent(const std::string& name) {
    View view = create(name);
    for (int i = 0; i < 100 && view.throttled == 0; i++) {
      EXPECT_EQ(write(view), kSuccess);
      view = show(name);
    }
    EXPECT_GT(view.throttled, 0U);
    return view;
  }
  static std::string write(const View& view) {
    return send_command(view.socket_path, kPermanentWrite);
  }
  // One more write, whose answer is withheld when this returns.
  std::future<std::string> write_and_wait(const View& view) {
    const std::uint64_t before = show(view.settings.name).throttled;
    auto answer = std::async(std::launch::async, [view] { return write(view); });
    wait_for(view.settings.name, [before](const View& v) { return v.throttled > before; });
    return answer;
  }
};

TEST_F(WriteLimitTest, OnlyTheDeviceThatWritesTooOftenWaits) {
  const View greedy = create_spent("greedy");
  // Another one's write is done while the greedy one's answer is withheld. On a busy machine it may
  // take longer than that, but not each time.
  bool overtook = false;
  for (int i = 0; i < 10 && !overtook; i++) {
    const View modest = create("modest-" + std::to_string(i));
    auto waiting = write_and_wait(greedy);
    EXPECT_EQ(write(modest), kSuccess);
    overtook = waiting.wait_for(0s) != std::future_status::ready;
    EXPECT_EQ(waiting.get(), kSuccess);
    EXPECT_EQ(show(modest.settings.name).throttled, 0U);
  }
  EXPECT_TRUE(overtook);
}

TEST_F(WriteLimitTest, TheNumberOfWritesIsBoundedByTheTime) {
  const View before = create_spent("greedy");
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 3; i++) EXPECT_EQ(write(before), kSuccess);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 2s);
  const View after = show("greedy");
  EXPECT_EQ(after.version.generation, before.version.generation + 3);
  // PCRs are not permanent.
  for (int i = 0; i < 50; i++) EXPECT_NE(extend_pcr16(after.socket_path), "");
  EXPECT_EQ(show("greedy").throttled, after.throttled);
}

TEST_F(WriteLimitTest, AWorkerThatDiesWhileItWaitsLosesNothing) {
  const View before = create_spent("greedy");
  auto waiting = write_and_wait(before);
  EXPECT_EQ(kill_worker("greedy", SIGKILL).phase, Phase::on);
  EXPECT_EQ(waiting.get(), "");  // a socket's client sees the connection go
  EXPECT_GT(show("greedy").version.generation, before.version.generation);  // the write is kept
  EXPECT_EQ(write(before), kSuccess);
}

TEST_F(WriteLimitTest, StopAnswersFirst) {
  const View before = create_spent("greedy");
  auto waiting = write_and_wait(before);
  ASSERT_TRUE(manager_->stop("greedy", false));
  EXPECT_EQ(waiting.get(), kSuccess);
  ASSERT_TRUE(manager_->start("greedy"));
  EXPECT_EQ(write(show("greedy")), kSuccess);
}

TEST_F(WriteLimitTest, SoDoesTheEndOfTheManager) {
  const View before = create_spent("greedy");
  auto waiting = write_and_wait(before);
  close();
  EXPECT_EQ(waiting.get(), kSuccess);
  open();
  EXPECT_EQ(wait_for_phase("greedy", Phase::on).phase, Phase::on);
  EXPECT_EQ(write(before), kSuccess);
}

}  // namespace
}  // namespace vtpm::device
