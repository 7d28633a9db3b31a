// SPDX-License-Identifier: Apache-2.0
// Templates and what is made from them (US 12,386,650 figure 4); devices that lose their identity.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "device/test_host.h"

namespace vtpm::device {
namespace {

using namespace testing;
using privsep::DeviceMode;
using ::testing::HasSubstr;

// TPM2_ReadPublic of the storage root key; TPM2_GetRandom of 8 bytes.
constexpr std::string_view kStorageRootKey = "80010000000e0000017381000001";
constexpr std::string_view kRandom = "80010000000c0000017b0008";
bool succeeds(const std::string& reply) {
  return reply.size() >= 20 && reply.substr(12, 8) == "00000000";
}

class TemplateTest : public ManagerTest {
 protected:
  store::Settings template_settings(const std::string& name) {
    store::Settings s = settings(name, true);
    s.role = store::Role::template_device;
    s.owner = "shop";
    s.linux_hmac = true;
    s.command_timeout_ms = 30'000;
    return s;
  }
  // Like `source`, by another name.
  Result<View> make_from(const std::string& source, const std::string& name, bool start = true) {
    VTPM_TRY(store::Settings s, manager_->settings_from(source, Manager::Source::without_identity));
    s.name = name;
    return manager_->create(s, start);
  }
  std::string key_of(const View& view) { return send_command(view.socket_path, kStorageRootKey); }
};

TEST_F(TemplateTest, IsNeverStartedOrSwitched) {
  open();
  const auto golden = manager_->create(template_settings("golden"), false);
  ASSERT_TRUE(golden) << golden.error().message;
  EXPECT_EQ(golden->socket_path, "") << "it has no node";
  const auto started = manager_->start("golden");
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, ErrorCode::failed_precondition);
  EXPECT_THAT(started.error().hint, HasSubstr("--from golden"));
  EXPECT_FALSE(manager_->set_mode("golden", DeviceMode::read_write));
  EXPECT_FALSE(manager_->power_cycle("golden"));
  close();
  open();
  EXPECT_EQ(show("golden").phase, Phase::off);
  EXPECT_EQ(show("golden").settings.role, store::Role::template_device);
  EXPECT_FALSE(manager_->start("golden"));
}

TEST_F(TemplateTest, EveryDeviceMadeFromOneHasAnIdentityOfItsOwn) {
  open();
  ASSERT_TRUE(manager_->create(template_settings("golden"), false));
  std::set<std::string> keys;
  for (const char* name : {"a", "b", "c"}) {
    const auto made = make_from("golden", name);
    ASSERT_TRUE(made) << made.error().message;
    store::Settings wanted = template_settings(name);
    wanted.role = store::Role::device;
    wanted.mode = static_cast<std::uint8_t>(DeviceMode::read_write);
    EXPECT_EQ(made->settings, wanted);
    EXPECT_TRUE(made->has_identity);
    keys.insert(key_of(*made));
  }
  EXPECT_EQ(keys.size(), 3U);
  EXPECT_TRUE(succeeds(*keys.begin()));
  EXPECT_EQ(show("golden").version, (store::Version{})) << "it was only looked at";
  // Nothing depends on it.
  ASSERT_TRUE(manager_->remove("golden", false, false));
  ASSERT_TRUE(manager_->power_cycle("a"));
  EXPECT_TRUE(keys.contains(key_of(show("a"))));
}

TEST_F(TemplateTest, AReadOnlyDeviceInUseIsAsGoodAndKeepsItsSocket) {
  open();
  store::Settings s = settings("source", true);
  s.socket_path = folder_ / "its-own";
  ASSERT_TRUE(manager_->create(s, true));
  const auto made = make_from("source", "copy");
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_NE(made->socket_path, s.socket_path);
  EXPECT_TRUE(succeeds(send_command(s.socket_path, kRandom)));
  EXPECT_TRUE(succeeds(key_of(*made)));
}

TEST_F(TemplateTest, AReadWriteDeviceIsNone) {
  open();
  create("web", false);
  EXPECT_EQ(make_from("web", "copy").error().code, ErrorCode::failed_precondition);
  EXPECT_EQ(make_from("nobody", "copy").error().code, ErrorCode::not_found);
}

TEST_F(TemplateTest, CountsInTheQuotaAsAReadOnlyDevice) {
  quota_.store_bytes = kReadOnlyShare * 2;
  open();
  ASSERT_TRUE(manager_->create(template_settings("one"), false));
  ASSERT_TRUE(manager_->create(template_settings("two"), false));
  EXPECT_EQ(manager_->create(template_settings("three"), false).error().code, ErrorCode::full);
}

TEST_F(TemplateTest, AGeneralizedDeviceHasNothingOfWhatItWas) {
  open();
  const View web = create("web");
  const std::string key = key_of(web);
  ASSERT_TRUE(succeeds(key));
  const auto in_use = manager_->generalize("web");
  ASSERT_FALSE(in_use);
  EXPECT_EQ(in_use.error().code, ErrorCode::failed_precondition);
  EXPECT_EQ(key_of(web), key);
  ASSERT_TRUE(manager_->stop("web", false));
  const auto wiped = manager_->generalize("web");
  ASSERT_TRUE(wiped) << wiped.error().message;
  EXPECT_FALSE(wiped->has_identity);
  EXPECT_EQ(wiped->settings.mode, static_cast<std::uint8_t>(DeviceMode::read_only));
  EXPECT_TRUE(manager_->generalize("web")) << "there is nothing left to do";
  EXPECT_TRUE(make_from("web", "copy"));
  for (int run = 0; run < 2; run++) {
    const auto started = manager_->start("web");
    ASSERT_TRUE(started) << started.error().message;
    EXPECT_TRUE(succeeds(extend_pcr16(web.socket_path)));
    EXPECT_FALSE(succeeds(key_of(web)));
    kill_worker("web", SIGKILL);
    EXPECT_FALSE(succeeds(key_of(web)));
    ASSERT_TRUE(manager_->stop("web", false));
    close();
    open();
  }
  // A new identity, off and in use, is another one.
  ASSERT_TRUE(manager_->start("web"));
  const auto again = manager_->set_mode("web", DeviceMode::read_write);
  ASSERT_TRUE(again) << again.error().message;
  const std::string second = key_of(web);
  EXPECT_TRUE(succeeds(second));
  EXPECT_NE(second, key);
  ASSERT_TRUE(manager_->stop("web", false));
  ASSERT_TRUE(manager_->generalize("web"));
  ASSERT_TRUE(manager_->set_mode("web", DeviceMode::read_write));
  ASSERT_TRUE(manager_->start("web"));
  EXPECT_TRUE(succeeds(key_of(web)));
  EXPECT_NE(key_of(web), second);
}

TEST_F(TemplateTest, ADeviceWithoutAnIdentityYetIsGeneralizedToo) {
  open();
  create("web", false);
  const auto done = manager_->generalize("web");
  ASSERT_TRUE(done) << done.error().message;
  const auto started = manager_->start("web");
  ASSERT_TRUE(started) << started.error().message;
  EXPECT_FALSE(started->has_identity);
}

// More of it, as clients see it: selftests/native/clone-test.
TEST_F(TemplateTest, ACloneKeepsTheStorageAndIsADeviceOfItsOwn) {
  open();
  const View web = create("web");
  auto wanted = manager_->settings_from("web", Manager::Source::any);
  ASSERT_TRUE(wanted);
  wanted->name = "copy";
  const auto copy = manager_->clone("web", *wanted, {.start = true});
  ASSERT_TRUE(copy) << copy.error().message;
  EXPECT_EQ(copy->settings.role, store::Role::device);
  EXPECT_EQ(key_of(*copy), key_of(web));
  wanted->name = "fresh";
  const auto fresh = manager_->clone("web", *wanted, {.fresh_storage = true, .start = true});
  ASSERT_TRUE(fresh) << fresh.error().message;
  EXPECT_TRUE(succeeds(key_of(*fresh)));
  EXPECT_NE(key_of(*fresh), key_of(web));
  EXPECT_EQ(manager_->clone("web", *wanted, {}).error().code, ErrorCode::exists);
  wanted->name = "blank";
  wanted->mode = static_cast<std::uint8_t>(DeviceMode::read_only);
  EXPECT_EQ(manager_->clone("web", *wanted, {}).error().code, ErrorCode::failed_precondition);
  EXPECT_TRUE(manager_->rebase("copy")) << "nothing to do";
}

TEST_F(TemplateTest, ACloneOfADeviceWithoutAnIdentityYetIsLikeAnyNewOne) {
  open();
  create("web", false);
  auto wanted = manager_->settings_from("web", Manager::Source::any);
  ASSERT_TRUE(wanted);
  wanted->name = "copy";
  const auto copy = manager_->clone("web", *wanted, {});
  ASSERT_TRUE(copy) << copy.error().message;
  EXPECT_FALSE(copy->has_identity);
  EXPECT_TRUE(manager_->start("copy"));
}

}  // namespace
}  // namespace vtpm::device
