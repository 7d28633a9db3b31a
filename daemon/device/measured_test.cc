// SPDX-License-Identifier: Apache-2.0
// Measured boot of whole devices: when it is allowed, what a power cycle repeats, and how long a
// log lives.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "device/test_host.h"

namespace vtpm::device::testing {
namespace {

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string log_of(const std::vector<Event>& measured) {
  return std::string(as_text(encode_event_log(*with_separators(measured))));
}

TEST_F(ManagerTest, ADeviceIsMeasuredAtItsStartAndAgainAtAPowerCycle) {
  open();
  View view = create("web", false);
  EXPECT_EQ(view.event_log, "");
  view = manager_->start("web", measured_file(1)).value();
  const std::string measured = pcr9(view);
  EXPECT_EQ(content(view.event_log), log_of(measured_file(1)));
  EXPECT_EQ(as_text(*manager_->event_log("web")), log_of(measured_file(1)));

  const auto late = manager_->start("web", measured_file(2));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::failed_precondition);
  EXPECT_TRUE(manager_->start("web"));
  EXPECT_EQ(pcr9(view), measured);

  ASSERT_TRUE(manager_->power_cycle("web"));
  EXPECT_EQ(pcr9(view), measured);
  ASSERT_TRUE(manager_->power_cycle("web", measured_file(2)));
  EXPECT_NE(pcr9(view), measured);
  EXPECT_EQ(content(view.event_log), log_of(measured_file(2)));
  ASSERT_TRUE(manager_->power_cycle("web", measured_file(1)));
  EXPECT_EQ(pcr9(view), measured);

  ASSERT_TRUE(manager_->stop("web", false));
  struct stat st{};
  EXPECT_NE(::stat(view.event_log.c_str(), &st), 0);
  EXPECT_EQ(manager_->event_log("web").error().code, ErrorCode::failed_precondition);
  view = manager_->start("web").value();
  EXPECT_EQ(content(view.event_log), log_of({})) << "nothing but separators";
  EXPECT_NE(pcr9(view), measured);
}

TEST_F(ManagerTest, WhatWasMeasuredOutlivesWorkersAndVtpmd) {
  open();
  create("web", false, true);
  View view = manager_->start("web", measured_file(1)).value();
  const std::string measured = pcr9(view);
  kill_worker("web", SIGKILL);
  EXPECT_EQ(pcr9(view), measured);
  std::ofstream(view.event_log) << "spoilt by a container that has it mounted";
  close();
  open();
  view = wait_for_phase("web", Phase::on);
  EXPECT_EQ(pcr9(view), measured);
  EXPECT_EQ(content(view.event_log), log_of(measured_file(1)));
  ASSERT_TRUE(manager_->power_cycle("web"));
  EXPECT_EQ(pcr9(view), measured);
}

// No way leads from a device that was not measured to the PCRs of one that was.
TEST_F(ManagerTest, AClientCannotMeasureAfterwards) {
  open();
  create("measured", false);
  const View measured = manager_->start("measured", measured_file(0xaa)).value();
  const View plain = create("plain");
  EXPECT_NE(pcr9(plain), std::string(64, '0')) << "a separator";
  std::string extend = "80020000004100000182000000090000000940000009000000000000000001000b";
  EXPECT_EQ(send_command(plain.socket_path, extend + std::string(64, 'a')).substr(12, 8),
            "00000000");
  EXPECT_NE(pcr9(plain), pcr9(measured));
}

TEST_F(ManagerTest, WhereThereIsFirmwareNothingIsMeasuredForIt) {
  open();
  for (const auto kind : {privsep::DeviceKind::vm, privsep::DeviceKind::open}) {
    auto s = settings("other");
    s.kind = static_cast<std::uint8_t>(kind);
    ASSERT_TRUE(manager_->create(s, false));
    EXPECT_EQ(manager_->start("other", measured_file(1)).error().code,
              ErrorCode::failed_precondition);
    EXPECT_EQ(show("other").phase, Phase::off);
    const auto view = manager_->start("other");
    ASSERT_TRUE(view) << view.error().message;
    EXPECT_EQ(view->event_log, "");
    EXPECT_EQ(manager_->power_cycle("other", measured_file(1)).error().code,
              ErrorCode::failed_precondition);
    ASSERT_TRUE(manager_->remove("other", false, true));
  }
}

TEST_F(ManagerTest, ARequestThatIsTooMuchChangesNothing) {
  open();
  const View view = create("web");
  std::vector<Event> many(kMaxMeasurements + 1, measured_file(1)[0]);
  EXPECT_EQ(manager_->power_cycle("web", many).error().code, ErrorCode::too_large);
  EXPECT_EQ(show("web").worker_pid, view.worker_pid);
  ASSERT_TRUE(manager_->stop("web", false));
  EXPECT_EQ(manager_->start("web", many).error().code, ErrorCode::too_large);
  EXPECT_EQ(show("web").phase, Phase::off);
}

}  // namespace
}  // namespace vtpm::device::testing
