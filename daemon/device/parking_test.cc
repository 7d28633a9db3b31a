// SPDX-License-Identifier: Apache-2.0
// Parking of devices on sockets; of those on kernel nodes: selftests/guest-tests/parking.
#include "device/parking.h"

#include <gtest/gtest.h>

#include "device/test_host.h"

namespace vtpm::device::testing {
namespace {

class ParkingTest : public ManagerTest {
 protected:
  // A worker hears a moment later that its last client has gone.
  View park(const std::string& name) {
    auto parked = manager_->park(name);
    for (int i = 0; i < 200 && !parked; i++) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      parked = manager_->park(name);
    }
    EXPECT_TRUE(parked) << parked.error().message;
    const View view = show(name);
    EXPECT_EQ(view.phase, Phase::parked);
    EXPECT_EQ(view.worker_pid, 0);
    return view;
  }
};

TEST_F(ParkingTest, AClientWakesAParkedDeviceThatIsAsItWas) {
  open();
  for (const bool read_only : {false, true}) {
    const std::string name = read_only ? "ro" : "rw";
    const View view = create(name, true, read_only);
    extend_pcr16(view.socket_path);
    const std::string before = pcr16(view.socket_path);
    for (unsigned i = 1; i <= 3; i++) {
      park(name);
      EXPECT_EQ(pcr16(view.socket_path), before);
      const View woken = show(name);
      EXPECT_EQ(woken.phase, Phase::on);
      EXPECT_EQ(woken.wakes, i);
      EXPECT_EQ(woken.restarts, 0U);
    }
  }
}

TEST_F(ParkingTest, WhoeverIsConnectedStaysSo) {
  open();
  const View view = create("one");
  UniqueFd client = connect_to(view.socket_path);
  const Bytes command = *from_hex(kReadPcr16);
  std::array<std::byte, 4096> reply{};
  for (int i = 0; i < 2; i++) {
    ASSERT_GT(::send(client.get(), command.data(), command.size(), MSG_NOSIGNAL), 0);
    ASSERT_GT(::recv(client.get(), reply.data(), reply.size(), 0), 0);
    const auto refused = manager_->park("one");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::busy);
    EXPECT_EQ(show("one").phase, Phase::on);
  }
  // An order that comes while the worker is asked is not refused for that.
  for (int i = 0; i < 5; i++) {
    std::thread other([this] { (void)manager_->park("one"); });
    const auto stopped = manager_->stop("one", false);
    EXPECT_TRUE(stopped) << stopped.error().message;
    other.join();
    ASSERT_TRUE(manager_->start("one"));
    client = connect_to(view.socket_path);
  }
  // Served, so that what it leaves at the door does not wake the device.
  ASSERT_GT(::send(client.get(), command.data(), command.size(), MSG_NOSIGNAL), 0);
  ASSERT_GT(::recv(client.get(), reply.data(), reply.size(), 0), 0);
  client.reset();
  park("one");
}

TEST_F(ParkingTest, AnIdleDeviceIsParkedAfterItsTime) {
  parking_.park_after_s = 1;
  open();
  const View view = create("one");
  auto never = settings("two");
  never.park_after_s = 0;
  ASSERT_TRUE(manager_->create(never, true));
  wait_for_phase("one", Phase::parked);
  const UniqueFd client = connect_to(view.socket_path);
  wait_for_phase("one", Phase::on);
  std::this_thread::sleep_for(std::chrono::milliseconds(2500));
  EXPECT_EQ(show("one").phase, Phase::on) << "somebody is connected";
  EXPECT_EQ(show("two").phase, Phase::on) << "it has a time of its own: never";
}

TEST_F(ParkingTest, BeyondTheLimitThoseGoToWhomNobodyIsConnected) {
  parking_.max_active = 1;
  open();
  for (const std::string name : {"a", "b", "c"}) {
    create(name);
    extend_pcr16(show(name).socket_path);
  }
  const std::string extended = pcr16(show("a").socket_path);
  const UniqueFd client = connect_to(show("b").socket_path);
  wait_for_phase("a", Phase::parked);
  wait_for_phase("c", Phase::parked);
  EXPECT_EQ(show("b").phase, Phase::on);
  // Nobody can make room for it, so the limit gives way.
  EXPECT_EQ(pcr16(show("a").socket_path), extended);
}

TEST_F(ParkingTest, TheNextManagerLetsItBeUntilAClientComes) {
  parking_.park_after_s = 3600;
  open();
  const View view = create("one");
  const std::string reset = pcr16(view.socket_path);
  extend_pcr16(view.socket_path);
  const std::string before = pcr16(view.socket_path);
  park("one");
  close();
  open();
  wait_for_phase("one", Phase::parked);
  EXPECT_EQ(pcr16(view.socket_path), before);
  park("one");
  close();
  ASSERT_EQ(::unlink(journal_of(view).c_str()), 0);
  open();
  wait_for_phase("one", Phase::on);
  EXPECT_EQ(pcr16(view.socket_path), reset) << "as for one that was on: the power was cut";
}

TEST_F(ParkingTest, WhatIsOrderedOfAParkedDeviceIsDone) {
  open();
  const View view = create("one", true, true);
  const std::string reset = pcr16(view.socket_path);
  extend_pcr16(view.socket_path);
  const std::string before = pcr16(view.socket_path);
  park("one");
  ASSERT_TRUE(manager_->set_mode("one", privsep::DeviceMode::read_write));
  EXPECT_EQ(pcr16(view.socket_path), before);
  park("one");
  ASSERT_TRUE(manager_->power_cycle("one"));
  EXPECT_EQ(pcr16(view.socket_path), reset);
  park("one");
  ASSERT_TRUE(manager_->stop("one", false));
  EXPECT_FALSE(connect_to(view.socket_path));
  ASSERT_TRUE(manager_->start("one"));
  park("one");
  // The host's own end of it: CMD_SHUTDOWN.
  const UniqueFd host = connect_to(view.socket_path + ".ctrl");
  const Bytes shutdown = *from_hex("00000003");
  ASSERT_EQ(::send(host.get(), shutdown.data(), shutdown.size(), MSG_NOSIGNAL), 4);
  wait_for_phase("one", Phase::off);
}

TEST_F(ParkingTest, AStateThatIsLostWhileItIsParkedIsAFailureAndNoReset) {
  open();
  const View view = create("one");
  extend_pcr16(view.socket_path);
  park("one");
  ASSERT_EQ(::unlink(journal_of(view).c_str()), 0);
  EXPECT_EQ(send_command(view.socket_path, kReadPcr16), "80010000000a00000101");
  expect_failure(view);
}

}  // namespace
}  // namespace vtpm::device::testing
