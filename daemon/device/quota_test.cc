// SPDX-License-Identifier: Apache-2.0
#include "device/quota.h"

#include "device/test_host.h"

namespace vtpm::device {
namespace {

store::Settings wanted(privsep::DeviceMode mode, const std::string& owner = "") {
  store::Settings settings;
  settings.mode = static_cast<std::uint8_t>(mode);
  settings.owner = owner;
  return settings;
}
const store::Settings kReadWrite = wanted(privsep::DeviceMode::read_write);
const store::Settings kReadOnly = wanted(privsep::DeviceMode::read_only);

TEST(Quota, WithoutOneNothingIsTooMuch) {
  const Holdings many{.read_write = 1'000'000, .read_only = 1'000'000, .of_owner = 1'000'000};
  EXPECT_TRUE(check_quota({}, many, kReadWrite));
  EXPECT_TRUE(check_quota({}, many, wanted(privsep::DeviceMode::read_write, "somebody")));
}

TEST(Quota, EachReadWriteDeviceIsPromisedAllThatItCanFill) {
  const Quota quota{.store_bytes = 3 * kReadWriteShare};
  EXPECT_TRUE(check_quota(quota, {.read_write = 2}, kReadWrite));
  const auto refused = check_quota(quota, {.read_write = 3}, kReadWrite);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::full);
  EXPECT_FALSE(refused.error().hint.empty());
  EXPECT_FALSE(check_quota(quota, {.read_write = 2, .read_only = 1}, kReadWrite));
  EXPECT_TRUE(check_quota(quota, {.read_write = 2, .read_only = 1}, kReadOnly));
  EXPECT_FALSE(check_quota(quota, {.read_write = 3}, kReadOnly));
  EXPECT_FALSE(check_quota({.store_bytes = 1}, {}, kReadOnly));
  // One that was made smaller: nothing more fits, and nothing is counted below zero.
  EXPECT_FALSE(check_quota(quota, {.read_write = 100}, kReadOnly));
}

TEST(Quota, AnOwnerHasSoManyDevicesAndWhoeverHasNoneIsNotCounted) {
  const Quota quota{.devices_per_owner = 2};
  const store::Settings of_web = wanted(privsep::DeviceMode::read_only, "web");
  EXPECT_TRUE(check_quota(quota, {.read_only = 9, .of_owner = 1}, of_web));
  const auto refused = check_quota(quota, {.read_only = 9, .of_owner = 2}, of_web);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::full);
  EXPECT_TRUE(check_quota(quota, {.read_only = 9}, kReadOnly));
}

TEST(Quota, SnapshotsAndRetiredDevicesTakeRoomAndAreNobodysDevices) {
  const Quota quota{.store_bytes = 2 * kReadWriteShare, .devices_per_owner = 1};
  store::Settings snapshot = wanted(privsep::DeviceMode::read_write, "web");
  snapshot.role = store::Role::snapshot;
  EXPECT_TRUE(check_quota(quota, {.read_write = 1, .of_owner = 1}, snapshot));
  EXPECT_FALSE(check_quota(quota, {.read_write = 2, .of_owner = 1}, snapshot));
  store::Settings retired = snapshot;
  retired.role = store::Role::retired;
  EXPECT_TRUE(check_quota(quota, {.read_write = 1, .retired = 4, .of_owner = 1}, retired));
  EXPECT_FALSE(check_quota(quota, {.read_write = 1, .retired = 5, .of_owner = 1}, retired));
}

class QuotaTest : public testing::ManagerTest {
 protected:
  Result<View> make(const std::string& name, const std::string& owner, bool read_only = true) {
    store::Settings wish = settings(name, read_only);
    wish.owner = owner;
    return manager_->create(wish, false);
  }
  static ErrorCode why(const Result<View>& made) {
    return made ? ErrorCode::internal : made.error().code;
  }
};

TEST_F(QuotaTest, IsCheckedWhenADeviceIsMade) {
  quota_ = {.store_bytes = 2 * kReadWriteShare, .devices_per_owner = 2};
  open();
  EXPECT_TRUE(make("a", "web"));
  EXPECT_TRUE(make("b", "web"));
  EXPECT_EQ(why(make("c", "web")), ErrorCode::full);
  EXPECT_TRUE(make("c", "db"));
  EXPECT_TRUE(make("d", "", false));
  EXPECT_EQ(why(make("e", "", false)), ErrorCode::full);
  EXPECT_TRUE(make("e", ""));
  ASSERT_TRUE(manager_->remove("a", false, false));
  EXPECT_TRUE(make("f", "web"));

  // A smaller quota takes nothing away from devices that exist.
  close();
  quota_ = {.store_bytes = 1, .devices_per_owner = 1};
  open();
  EXPECT_TRUE(manager_->start("d"));
  EXPECT_EQ(why(make("g", "web")), ErrorCode::full);
}

}  // namespace
}  // namespace vtpm::device
