// SPDX-License-Identifier: Apache-2.0
// How devices get identities: at their first start, or by a change of mode.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "device/test_host.h"

namespace vtpm::device {
namespace {

using namespace testing;
using privsep::DeviceMode;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::string_view kReadOnlyRefusal = "80010000000a00000156";
// TPM2_NV_ReadPublic of the P-256 endorsement certificate; TPM2_ReadPublic of the storage root key.
constexpr std::string_view kCertificate = "80010000000e0000016901c0000a";
constexpr std::string_view kStorageRootKey = "80010000000e0000017381000001";
// TPM2_CreatePrimary of a P-256 storage key in the endorsement hierarchy.
constexpr std::string_view kCreatePrimary =
    "800200000043000001314000000b0000000940000009000000000000040000"
    "0000001a0023000b00030472000000060080004300100003001000000000000000000000";
bool succeeds(const std::string& reply) {
  return reply.size() >= 20 && reply.substr(12, 8) == "00000000";
}

class IdentityTest : public ManagerTest {
 protected:
  std::string key_of(const View& view) { return send_command(view.socket_path, kStorageRootKey); }
};

TEST_F(IdentityTest, TheFirstStartInReadWriteModeMakesOneThatStays) {
  open();
  const View made = create("web", false);
  EXPECT_FALSE(made.has_identity);
  const auto started = manager_->start("web");
  ASSERT_TRUE(started) << started.error().message;
  EXPECT_TRUE(started->has_identity);
  EXPECT_TRUE(succeeds(send_command(started->socket_path, kCertificate)));
  const std::string key = key_of(*started);
  EXPECT_TRUE(succeeds(key));
  ASSERT_TRUE(manager_->stop("web", false));
  ASSERT_TRUE(manager_->start("web"));
  EXPECT_EQ(key_of(*started), key);
  close();
  open();
  wait_for_phase("web", Phase::on);
  EXPECT_EQ(key_of(*started), key);
}

TEST_F(IdentityTest, AReadOnlyDeviceHasNone) {
  open();
  const View view = create("golden", true, true);
  EXPECT_FALSE(view.has_identity);
  EXPECT_FALSE(succeeds(send_command(view.socket_path, kCertificate)));
  EXPECT_FALSE(succeeds(key_of(view)));
  EXPECT_EQ(send_command(view.socket_path, kCreatePrimary), kReadOnlyRefusal);
}

TEST_F(IdentityTest, ARunningDeviceTakesOneAndItsBootGoesOn) {
  open();
  const View before = create("web", true, true);
  ASSERT_TRUE(succeeds(extend_pcr16(before.socket_path)));
  const std::string pcr = pcr16(before.socket_path);
  const auto switched = manager_->set_mode("web", DeviceMode::read_write);
  ASSERT_TRUE(switched) << switched.error().message;
  EXPECT_EQ(switched->settings.mode, static_cast<std::uint8_t>(DeviceMode::read_write));
  EXPECT_TRUE(switched->has_identity);
  EXPECT_EQ(switched->phase, Phase::on);
  EXPECT_EQ(switched->worker_pid, before.worker_pid);
  EXPECT_EQ(pcr16(before.socket_path), pcr);
  EXPECT_TRUE(succeeds(send_command(before.socket_path, kCreatePrimary)));
  const std::string key = key_of(before);
  EXPECT_TRUE(succeeds(key));
  // A worker's death, and then the loss of power.
  kill_worker("web", SIGKILL);
  EXPECT_EQ(pcr16(before.socket_path), pcr);
  EXPECT_EQ(key_of(before), key);
  ASSERT_TRUE(manager_->power_cycle("web"));
  EXPECT_NE(pcr16(before.socket_path), pcr);
  EXPECT_EQ(key_of(before), key);
}

TEST_F(IdentityTest, ADeviceThatIsOffTakesOneForItsNextStart) {
  open();
  const View view = create("web", false, true);
  const auto switched = manager_->set_mode("web", DeviceMode::read_write);
  ASSERT_TRUE(switched) << switched.error().message;
  EXPECT_EQ(switched->phase, Phase::off);
  EXPECT_TRUE(switched->has_identity);
  close();
  open();
  EXPECT_TRUE(show("web").has_identity);
  const auto started = manager_->start("web");
  ASSERT_TRUE(started) << started.error().message;
  EXPECT_TRUE(succeeds(key_of(*started)));
}

TEST_F(IdentityTest, AModeThatIsThereCostsNothingAndThereIsNoWayBack) {
  open();
  const View view = create("web");
  const auto same = manager_->set_mode("web", DeviceMode::read_write);
  ASSERT_TRUE(same);
  EXPECT_EQ(same->version.generation, show("web").version.generation);
  const auto back = manager_->set_mode("web", DeviceMode::read_only);
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().code, ErrorCode::failed_precondition);
  EXPECT_TRUE(succeeds(key_of(view)));
}

// vtpmd's own profile has no RSA key here.
TEST_F(IdentityTest, ADeviceCanHaveAProfileOfItsOwnUntilItsKeysAreMade) {
  open();
  auto s = settings("web");
  const auto has_rsa = [](const View& view) {  // TPM2_NV_ReadPublic of the certificate's index
    return succeeds(send_command(view.socket_path, "80010000000e0000016901c00002"));
  };
  s.cert_profile = static_cast<std::uint8_t>(privsep::IdentityProfile::standard);
  ASSERT_TRUE(manager_->create(s, false));
  EXPECT_TRUE(has_rsa(manager_->start("web").value()));
  const auto late = manager_->set("web", {.owner = {}, .park_after_s = {}, .cert_profile = 2});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::failed_precondition);
  EXPECT_TRUE(manager_->set("web", {.owner = "shop", .park_after_s = {}, .cert_profile = 1}));
  // vtpmd's, after all.
  s.name = "other";
  ASSERT_TRUE(manager_->create(s, false));
  ASSERT_TRUE(manager_->set("other", {.owner = {}, .park_after_s = {}, .cert_profile = 0}));
  close();
  open();
  EXPECT_EQ(show("other").settings.cert_profile, 0);
  EXPECT_FALSE(has_rsa(manager_->start("other").value()));
}

TEST_F(IdentityTest, NoTwoAreTheSame) {
  open();
  std::set<std::string> keys;
  constexpr int devices = 6;
  for (int i = 0; i < devices; i++) {
    const std::string name = "d" + std::to_string(i);
    const View view = create(name, true, i % 2 == 0);
    const auto done = manager_->set_mode(name, DeviceMode::read_write);
    ASSERT_TRUE(done) << done.error().message;
    keys.insert(key_of(view));
  }
  EXPECT_EQ(keys.size(), devices);
}

TEST_F(IdentityTest, TheQuotaCountsADeviceThatGrows) {
  quota_.store_bytes = kReadOnlyShare * 4;
  open();
  create("small", true, true);
  const auto refused = manager_->set_mode("small", DeviceMode::read_write);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::full);
  EXPECT_FALSE(show("small").has_identity);
}

// Whenever the worker dies during the switch, the device is wholly the one or wholly the other.
TEST_F(IdentityTest, ADeathInTheMiddleLeavesNothingHalfDone) {
  open();
  int switched = 0;
  constexpr int tries = 12;
  for (int i = 0; i < tries; i++) {
    const std::string name = "d" + std::to_string(i);
    const View before = create(name, true, true);
    ASSERT_TRUE(succeeds(extend_pcr16(before.socket_path)));
    const std::string pcr = pcr16(before.socket_path);
    // The first dies before it can begin, the last when all is done, the others in between.
    const bool last = i == tries - 1;
    std::thread killer([&] {
      if (last) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(3 * i));
      ::kill(before.worker_pid, SIGKILL);
    });
    const auto done = manager_->set_mode(name, DeviceMode::read_write);
    killer.join();
    if (last) ::kill(before.worker_pid, SIGKILL);
    const View after = wait_for(name, [&](const View& v) {
      return v.phase == Phase::on && v.worker_pid != before.worker_pid && v.worker_pid != 0;
    });
    const bool read_write =
        after.settings.mode == static_cast<std::uint8_t>(DeviceMode::read_write);
    EXPECT_TRUE(read_write || !done) << "it said that it was done";
    EXPECT_EQ(after.has_identity, read_write);
    EXPECT_EQ(pcr16(before.socket_path), pcr);
    const std::string reply = send_command(before.socket_path, kCreatePrimary);
    EXPECT_TRUE(read_write ? succeeds(reply) : reply == kReadOnlyRefusal) << reply;
    EXPECT_EQ(succeeds(key_of(before)), read_write);
    switched += read_write ? 1 : 0;
  }
  EXPECT_GT(switched, 0) << "not even the undisturbed one";
  EXPECT_LT(switched, tries) << "not even the one that died at once";
}

}  // namespace
}  // namespace vtpm::device
