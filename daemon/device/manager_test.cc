// SPDX-License-Identifier: Apache-2.0
// The manager with the real engine: requests, names, many callers at once.
#include "device/manager.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>

#include "device/test_host.h"

namespace vtpm::device::testing {
namespace {

TEST_F(ManagerTest, ADeviceIsMadeStartedStoppedAndRemoved) {
  open();
  View view = create("one", false);
  EXPECT_EQ(view.phase, Phase::off);
  EXPECT_FALSE(view.has_identity);
  view = *manager_->start("one");
  EXPECT_EQ(view.phase, Phase::on);
  EXPECT_TRUE(view.has_identity);
  EXPECT_TRUE(view.has_node);
  EXPECT_GT(view.worker_pid, 0);
  EXPECT_EQ(extend_pcr16(view.socket_path).substr(12, 8), "00000000");
  EXPECT_TRUE(manager_->start("one")) << "starting what is on is fine";

  const auto refused = manager_->remove("one", false, false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::failed_precondition);
  view = *manager_->stop(view.uuid.to_string(), false);
  EXPECT_EQ(view.phase, Phase::off);
  EXPECT_EQ(view.worker_pid, 0);
  struct stat st{};
  EXPECT_NE(::lstat((folder_ / "run/sockets/one").c_str(), &st), 0);
  EXPECT_TRUE(manager_->stop("one", false)) << "stopping what is off is fine";
  EXPECT_TRUE(manager_->remove("one", false, false));
  EXPECT_EQ(manager_->show("one").error().code, ErrorCode::not_found);
  EXPECT_EQ(manager_->show(view.uuid.to_string()).error().code, ErrorCode::not_found);
}

TEST_F(ManagerTest, AStoppedDeviceStartsWithItsIdentityAndFreshPcrs) {
  open();
  const View first = create("one");
  const std::string reset = pcr16(first.socket_path);
  extend_pcr16(first.socket_path);
  EXPECT_NE(pcr16(first.socket_path), reset);
  ASSERT_TRUE(manager_->stop("one", false));
  const auto again = manager_->start("one");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(pcr16(again->socket_path), reset);
  EXPECT_GT(again->version.epoch, first.version.epoch);
  EXPECT_GE(again->version.generation, first.version.generation);
}

TEST_F(ManagerTest, PowerCycleResetsPcrsAndNeedsADeviceThatIsOn) {
  open();
  const View view = create("one");
  const std::string reset = pcr16(view.socket_path);
  extend_pcr16(view.socket_path);
  const auto cycled = manager_->power_cycle("one");
  ASSERT_TRUE(cycled) << cycled.error().message;
  EXPECT_EQ(cycled->phase, Phase::on);
  EXPECT_NE(cycled->worker_pid, view.worker_pid);
  EXPECT_EQ(pcr16(view.socket_path), reset);
  ASSERT_TRUE(manager_->stop("one", false));
  EXPECT_EQ(manager_->power_cycle("one").error().code, ErrorCode::failed_precondition);
}

TEST_F(ManagerTest, NamesAndSocketsBelongToOneDevice) {
  open();
  create("one", false);
  EXPECT_EQ(manager_->create(settings("one"), false).error().code, ErrorCode::exists);
  // The control socket of "one" would be the data socket of "one.ctrl".
  EXPECT_EQ(manager_->create(settings("one.ctrl"), false).error().code, ErrorCode::exists);
  auto s = settings("two");
  s.socket_path = folder_ / "run/sockets/one";
  EXPECT_EQ(manager_->create(s, false).error().code, ErrorCode::exists);
  s.node = static_cast<std::uint8_t>(privsep::NodeKind::kernel);
  EXPECT_EQ(manager_->create(s, false).error().code, ErrorCode::failed_precondition);
  EXPECT_EQ(manager_->create(settings("bad/name"), false).error().code,
            ErrorCode::invalid_argument);
  EXPECT_EQ(manager_->list("", 0)->size(), 1U) << "a refused request leaves nothing";
  ASSERT_TRUE(manager_->remove("one", false, false));
  EXPECT_TRUE(manager_->create(settings("one"), false)) << "a name is free again";
}

TEST_F(ManagerTest, ListsByNameInPages) {
  open();
  for (const char* name : {"c", "a", "b"}) create(name, false);
  const auto names = [](const Result<std::vector<View>>& views) {
    std::string all;
    for (const View& view : *views) all += view.settings.name;
    return all;
  };
  EXPECT_EQ(names(manager_->list("", 0)), "abc");
  EXPECT_EQ(names(manager_->list("", 2)), "ab");
  EXPECT_EQ(names(manager_->list("b", 0)), "c");
  EXPECT_EQ(names(manager_->list("zzz", 0)), "");
}

TEST_F(ManagerTest, ARefusedCommandIsToldWithItsDevice) {
  open();
  const View view = create("one", true, true);
  EXPECT_FALSE(view.has_identity);
  const auto watcher = manager_->bulletin().subscribe();
  // CreatePrimary(endorsement) with an empty template: refused by its code alone.
  const std::string reply = send_command(view.socket_path,
                                         "80020000001b00000131400000"
                                         "0b00000009400000090000000000");
  EXPECT_EQ(reply.substr(12, 8), "00000156");
  const auto notice = watcher->next(std::chrono::seconds(10));
  ASSERT_TRUE(notice && notice->refusal);
  EXPECT_EQ(notice->refusal->command_code, 0x131U);
  EXPECT_EQ(notice->refusal->name, "one");
  EXPECT_EQ(show("one").denied, 1U);
  EXPECT_EQ(manager_->refusals("one", 0)->size(), 1U);
  EXPECT_FALSE(manager_->refusals("nobody", 0));
}

TEST_F(ManagerTest, EightCallersAtOnceGetWholeAnswers) {
  open();
  create("shared", false);
  std::atomic<int> surprises = 0;
  std::vector<std::thread> callers;
  for (int t = 0; t < 8; t++)
    callers.emplace_back([this, t, &surprises] {
      const std::string own = "own-" + std::to_string(t);
      const auto fine = [&](const auto& result) {
        if (!result && result.error().code != ErrorCode::busy) surprises++;
      };
      if (!manager_->create(settings(own), true)) surprises++;
      for (int i = 0; i < 3; i++) {
        fine(manager_->start("shared"));
        if (!manager_->list("", 0)) surprises++;
        fine(manager_->stop("shared", false));
      }
      if (!manager_->remove(own, false, true)) surprises++;
    });
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(surprises, 0);
  EXPECT_EQ(manager_->list("", 0)->size(), 1U);
}

TEST_F(ManagerTest, AnOwnerCanChangeWithinTheQuotaAndIsKept) {
  quota_.devices_per_owner = 1;
  open();
  create("one", false);
  create("two", false);
  EXPECT_EQ(manager_->set("one", {.owner = "shop", .park_after_s = {}})->settings.owner, "shop");
  EXPECT_TRUE(manager_->set("one", {.owner = "shop", .park_after_s = {}})) << "it has it already";
  EXPECT_EQ(manager_->set("two", {.owner = "shop", .park_after_s = {}}).error().code,
            ErrorCode::full);
  EXPECT_EQ(manager_->set("nobody", {.owner = "shop", .park_after_s = {}}).error().code,
            ErrorCode::not_found);
  const auto never = manager_->set("one", {.owner = {}, .park_after_s = kLongestParkAfter + 1});
  EXPECT_EQ(never.error().code, ErrorCode::invalid_argument);
  close();
  open();
  EXPECT_EQ(manager_->show("one")->settings.owner, "shop");
  EXPECT_EQ(manager_->show("two")->settings.owner, "");
}

TEST_F(ManagerTest, CallsAfterTheEndAreAnsweredAtOnce) {
  open();
  create("one", false);
  manager_->stop();
  thread_.join();
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(manager_->show("one").error().code, ErrorCode::unavailable);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  manager_.reset();
}

TEST_F(ManagerTest, WithoutItsHostKeyAStoreThatHoldsDevicesIsNotOpened) {
  open();
  create("one");
  close();
  ASSERT_EQ(::unlink((folder_ / "state/host.key").c_str()), 0);
  EXPECT_FALSE(try_open());
  struct stat st{};
  EXPECT_NE(::lstat((folder_ / "state/host.key").c_str(), &st), 0) << "a new key was made";
}

}  // namespace
}  // namespace vtpm::device::testing
