// SPDX-License-Identifier: Apache-2.0
// What of a device that is on goes along with a copy of it. As clients see it:
// selftests/native/clone-test.
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "device/test_host.h"

namespace vtpm::device::testing {
namespace {

const std::string kZeros(64, '0');

class CopyTest : public ManagerTest {
 protected:
  // On, with a measured file in PCR 9 and an event in PCR 16.
  View source() {
    create("web", false);
    const auto started = manager_->start("web", measured_file(1));
    EXPECT_TRUE(started);
    const View web = wait_for_worker("web");
    EXPECT_EQ(extend_pcr16(web.socket_path).substr(12, 8), "00000000");
    return web;
  }
  View clone(const std::string& from, const std::string& name,
             const Manager::CloneOptions& options = {}) {
    auto wanted = manager_->settings_from(from, Manager::Source::any);
    if (wanted) {
      wanted->name = name;
      auto made = manager_->clone(from, *wanted, options);
      if (made) return *std::move(made);
      ADD_FAILURE() << made.error().message;
    }
    return {};
  }
  View start(const std::string& name, const std::vector<Event>& measured = {}) {
    auto started = manager_->start(name, measured);
    if (started) return *std::move(started);
    ADD_FAILURE() << started.error().message;
    return {};
  }
  std::string log_of(const std::string& name) {
    const auto log = manager_->event_log(name);
    return log ? std::string(as_text(*log)) : std::string();
  }
};

TEST_F(CopyTest, ACloneGoesOnWithThePcrsAndTheirLog) {
  open();
  const View web = source();
  const View copy = clone("web", "copy", {.start = true});
  EXPECT_EQ(show("web").worker_pid, web.worker_pid);
  EXPECT_NE(pcr16(web.socket_path), kZeros);
  EXPECT_EQ(pcr16(copy.socket_path), pcr16(web.socket_path));
  EXPECT_EQ(pcr9(copy), pcr9(web));
  EXPECT_EQ(log_of("copy"), log_of("web"));
  std::ifstream published(copy.event_log, std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(published), {}), log_of("web"));
  // From here on each has its own.
  extend_pcr16(copy.socket_path);
  const std::string extended = pcr16(copy.socket_path);
  EXPECT_NE(pcr16(web.socket_path), extended);
  kill_worker("copy", SIGKILL);
  EXPECT_EQ(pcr16(copy.socket_path), extended);
  ASSERT_TRUE(manager_->power_cycle("copy"));
  EXPECT_EQ(pcr16(copy.socket_path), kZeros);
  EXPECT_EQ(pcr9(copy), pcr9(web)) << "what was measured is measured again";
}

// PCRs that came back at another power-on would not be of what runs then.
TEST_F(CopyTest, OnlyTheFirstStartGoesOn) {
  open();
  const View web = source();
  clone("web", "copy");
  EXPECT_EQ(log_of("copy"), "") << "it is off";
  close();
  open();
  const View copy = start("copy");
  EXPECT_EQ(pcr16(copy.socket_path), pcr16(web.socket_path));
  EXPECT_EQ(log_of("copy"), log_of("web"));
  ASSERT_TRUE(manager_->stop("copy", false));
  start("copy");
  EXPECT_EQ(pcr16(copy.socket_path), kZeros);
  ASSERT_TRUE(manager_->stop("copy", false));
  EXPECT_EQ(pcr16(clone("copy", "next", {.start = true}).socket_path), kZeros);
}

TEST_F(CopyTest, AStartThatFailsUsesUpThePcrs) {
  open();
  source();
  const View copy = clone("web", "copy");
  std::filesystem::create_directory(copy.socket_path);
  EXPECT_FALSE(manager_->start("copy"));
  std::filesystem::remove(copy.socket_path);
  EXPECT_EQ(pcr16(start("copy").socket_path), kZeros);
}

TEST_F(CopyTest, WhoeverAsksForAPowerOnGetsIt) {
  open();
  const View web = source();
  EXPECT_EQ(pcr16(clone("web", "cold", {.cold = true, .start = true}).socket_path), kZeros);
  clone("web", "measured");
  const View measured = start("measured", measured_file(2));
  EXPECT_EQ(pcr16(measured.socket_path), kZeros);
  EXPECT_NE(pcr9(measured), pcr9(web));
  ASSERT_TRUE(manager_->stop("web", false));
  EXPECT_EQ(pcr16(clone("web", "off", {.start = true}).socket_path), kZeros);
}

TEST_F(CopyTest, OfAContainerNoPcrsGoWithoutTheirLog) {
  open();
  source();
  const View copy = clone("web", "copy");
  ASSERT_TRUE(std::filesystem::remove(folder_ / ("run/measured/" + copy.uuid.to_string())));
  EXPECT_EQ(pcr16(start("copy").socket_path), kZeros);
}

TEST_F(CopyTest, ASnapshotHasThePcrsOfItsMoment) {
  open();
  const View web = source();
  const std::string then = pcr16(web.socket_path);
  ASSERT_TRUE(manager_->snapshot("web@s"));
  extend_pcr16(web.socket_path);
  EXPECT_EQ(pcr16(clone("web@s", "copy", {.start = true}).socket_path), then);
  EXPECT_EQ(pcr16(clone("web@s", "cold", {.cold = true, .start = true}).socket_path), kZeros);
  const auto back = manager_->rollback("web@s", {.stop = true, .start = true});
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(pcr16(back->socket_path), then);
  EXPECT_EQ(log_of("web"), log_of("copy"));
}

TEST_F(CopyTest, AWorkerThatDiesInsteadOfTellingIsAskedAgain) {
  open();
  const View web = source();
  const std::string before = pcr16(web.socket_path);
  ::kill(web.worker_pid, SIGSTOP);
  View copy;
  std::thread caller([&] { copy = clone("web", "copy", {.start = true}); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  ::kill(web.worker_pid, SIGKILL);
  caller.join();
  EXPECT_EQ(pcr16(copy.socket_path), before);
  EXPECT_EQ(show("web").restarts, 1U);
}

// What it ran with is lost, its keys are not.
TEST_F(CopyTest, AFailedDeviceIsCopiedWithoutPcrs) {
  open();
  const View web = source();
  std::filesystem::remove(journal_of(web));
  ::kill(web.worker_pid, SIGKILL);
  wait_for_phase("web", Phase::failed);
  EXPECT_EQ(pcr16(clone("web", "copy", {.start = true}).socket_path), kZeros);
}

}  // namespace
}  // namespace vtpm::device::testing
