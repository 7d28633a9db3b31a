// SPDX-License-Identifier: Apache-2.0
// Snapshots of devices, and the way back to one. As clients see it: selftests/native/rollback-test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "device/test_host.h"
#include "identity/event.h"

namespace vtpm::device {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// TPM2_ReadPublic of the storage root key; TPM2_HierarchyChangeAuth of the owner from nothing to x.
constexpr std::string_view kStorageRootKey = "80010000000e0000017381000001";
constexpr std::string_view kChangeOwnerAuth =
    "80020000001e0000012940000001000000094000000900000000000001"
    "78";
bool succeeds(const std::string& reply) {
  return reply.size() >= 20 && reply.substr(12, 8) == "00000000";
}

class SnapshotTest : public ManagerTest {
 protected:
  static ErrorCode why(const Result<View>& result) {
    return result ? ErrorCode::internal : result.error().code;
  }
  std::string key_of(const View& view) { return send_command(view.socket_path, kStorageRootKey); }
  // Succeeds once in the life of a state.
  bool change_state(const View& view) {
    return succeeds(send_command(view.socket_path, kChangeOwnerAuth));
  }
  std::vector<std::string> names(bool snapshots) {
    std::vector<std::string> out;
    const auto views = manager_->list("", 0, snapshots);
    EXPECT_TRUE(views);
    for (const View& view : *views) out.push_back(view.settings.name);
    return out;
  }
  identity::EventLog log_of(const std::string& name) {
    const auto descent = manager_->lineage(name);
    if (!descent) {
      ADD_FAILURE() << descent.error().message;
      return {};
    }
    return *identity::parse_log(descent->log);
  }
  // Nothing makes it a device that runs.
  void expect_inert(const std::string& name, std::string_view hint) {
    const auto started = manager_->start(name);
    EXPECT_EQ(why(started), ErrorCode::failed_precondition);
    EXPECT_THAT(started.error().hint, HasSubstr(hint));
    EXPECT_EQ(why(manager_->power_cycle(name)), ErrorCode::failed_precondition);
    EXPECT_EQ(why(manager_->rebase(name)), ErrorCode::failed_precondition);
    EXPECT_EQ(why(manager_->generalize(name)), ErrorCode::failed_precondition);
    for (const auto mode : {privsep::DeviceMode::read_only, privsep::DeviceMode::read_write})
      EXPECT_EQ(why(manager_->set_mode(name, mode)), ErrorCode::failed_precondition);
    EXPECT_EQ(why(manager_->set(name, {.owner = "thief", .park_after_s = {}})),
              ErrorCode::failed_precondition);
    const View view = show(name);
    EXPECT_EQ(view.phase, Phase::off);
    EXPECT_EQ(view.socket_path, "");
    EXPECT_FALSE(view.has_identity);
  }
};

TEST_F(SnapshotTest, IsTakenOfADeviceInUseAndIsNoDevice) {
  open();
  const View web = create("web");
  const auto taken = manager_->snapshot("web@first");
  ASSERT_TRUE(taken) << taken.error().message;
  EXPECT_EQ(taken->settings.role, store::Role::snapshot);
  EXPECT_GT(taken->taken_us, 0U);
  EXPECT_EQ(show("web").worker_pid, web.worker_pid);
  expect_inert("web@first", "vtpmctl clone web@first");
  ASSERT_TRUE(manager_->snapshot(web.uuid.to_string() + "@second"));
  EXPECT_GT(show("web@second").taken_us, taken->taken_us);
  EXPECT_THAT(names(false), ElementsAre("web"));
  EXPECT_THAT(names(true), ElementsAre("web@first", "web@second"));
  close();
  open();
  EXPECT_THAT(names(true), ElementsAre("web@first", "web@second"));
  EXPECT_EQ(show("web@first").taken_us, taken->taken_us);
  ASSERT_TRUE(manager_->remove("web@first", false, false));
  EXPECT_THAT(names(true), ElementsAre("web@second"));
  EXPECT_TRUE(succeeds(key_of(web)));
}

TEST_F(SnapshotTest, WhatHasNoStateOrNoNameIsRefused) {
  open();
  create("web");
  create("fresh", false);
  create("golden", false, true);
  ASSERT_TRUE(manager_->snapshot("web@s"));
  EXPECT_EQ(why(manager_->snapshot("web@s")), ErrorCode::exists);
  for (const char* name : {"web", "web@", "web@a b", "web@s@t", "web@/x"})
    EXPECT_EQ(why(manager_->snapshot(name)), ErrorCode::invalid_argument) << name;
  EXPECT_EQ(why(manager_->snapshot("nobody@s")), ErrorCode::not_found);
  for (const char* name : {"fresh@s", "golden@s"})
    EXPECT_EQ(why(manager_->snapshot(name)), ErrorCode::failed_precondition) << name;
  EXPECT_EQ(why(manager_->rollback("web", {})), ErrorCode::failed_precondition);
  EXPECT_EQ(why(manager_->rollback("web@t", {})), ErrorCode::not_found);
  EXPECT_THAT(names(true), ElementsAre("web@s"));
}

TEST_F(SnapshotTest, ACloneOfOneHasTheStateOfThen) {
  open();
  const View web = create("web");
  ASSERT_TRUE(manager_->snapshot("web@s"));
  ASSERT_TRUE(change_state(web));
  for (const char* name : {"one", "two"}) {
    auto wanted = manager_->settings_from("web@s", Manager::Source::any);
    ASSERT_TRUE(wanted) << wanted.error().message;
    wanted->name = name;
    const auto copy = manager_->clone("web@s", *wanted, {.start = true});
    ASSERT_TRUE(copy) << copy.error().message;
    EXPECT_EQ(copy->settings.role, store::Role::device);
    EXPECT_EQ(key_of(*copy), key_of(web));
    EXPECT_TRUE(change_state(*copy)) << "it was not changed before";
    const auto log = log_of(name);
    ASSERT_EQ(log.size(), 2U);
    EXPECT_EQ(log[1].event.kind, identity::EventKind::clone);
    EXPECT_EQ(log[1].event.parent, web.uuid);
  }
  EXPECT_THAT(names(true), ElementsAre("web@s"));
}

TEST_F(SnapshotTest, RollbackPutsACloneInTheDevicesPlace) {
  open();
  store::Settings wanted = settings("web");
  wanted.owner = "shop";
  wanted.socket_path = folder_ / "its-own";
  wanted.cert_profile = static_cast<std::uint8_t>(privsep::IdentityProfile::ecc);
  const View web = *manager_->create(wanted, true);
  const std::string key = key_of(web);
  ASSERT_TRUE(manager_->snapshot("web@s"));
  ASSERT_TRUE(change_state(web));
  const auto in_use = manager_->rollback("web@s", {});
  EXPECT_EQ(why(in_use), ErrorCode::failed_precondition);
  EXPECT_THAT(in_use.error().hint, HasSubstr("--stop"));
  EXPECT_EQ(key_of(web), key);
  for (std::uint64_t generation = 2; generation < 5; generation++) {
    const View before = show("web");
    const auto back = manager_->rollback("web@s", {.stop = true, .start = true});
    ASSERT_TRUE(back) << back.error().message << ": " << back.error().hint;
    EXPECT_EQ(back->settings, wanted);
    EXPECT_NE(back->uuid, before.uuid);
    EXPECT_EQ(back->phase, Phase::on);
    EXPECT_TRUE(back->has_identity);
    EXPECT_EQ(key_of(*back), key);
    EXPECT_TRUE(change_state(*back)) << "what was done since is undone";
    const auto log = log_of("web");
    ASSERT_EQ(log.size(), 2U);
    EXPECT_EQ(log[1].event.kind, identity::EventKind::rollback);
    EXPECT_EQ(log[1].event.device, back->uuid);
    EXPECT_EQ(log[1].event.parent, web.uuid) << "whose snapshot it was";
    EXPECT_EQ(log[1].event.generation, generation) << "above that of what is retired";
  }
  EXPECT_THAT(names(false), ElementsAre("web", "web.retired-1", "web.retired-2", "web.retired-3"));
  for (int run = 0; run < 2; run++) {
    const View retired = show("web.retired-1");
    EXPECT_EQ(retired.uuid, web.uuid);
    EXPECT_EQ(retired.settings.role, store::Role::retired);
    expect_inert("web.retired-1", "vtpmctl lineage web.retired-1");
    EXPECT_EQ(why(manager_->snapshot("web.retired-1@s")), ErrorCode::failed_precondition);
    EXPECT_EQ(why(manager_->clone("web.retired-1", settings("copy"), {})),
              ErrorCode::failed_precondition);
    EXPECT_EQ(log_of("web.retired-1").size(), 1U) << "its certificates are known";
    close();
    open();
    EXPECT_EQ(key_of(wait_for_phase("web", Phase::on)), key);
  }
  const auto members = manager_->lineage("web")->members;
  EXPECT_EQ(members.size(), 4U) << "a snapshot is nobody of its own";
  ASSERT_TRUE(manager_->remove("web.retired-1", false, false));
}

TEST_F(SnapshotTest, NewerOnesAreInTheWay) {
  open();
  const View web = create("web");
  for (const char* name : {"web@c", "web@b", "web@a"}) ASSERT_TRUE(manager_->snapshot(name));
  ASSERT_TRUE(manager_->stop("web", false));
  const auto refused = manager_->rollback("web@b", {.stop = true});
  EXPECT_EQ(why(refused), ErrorCode::failed_precondition);
  EXPECT_THAT(refused.error().message, HasSubstr("web@a"));
  EXPECT_THAT(refused.error().hint, HasSubstr("--delete-newer"));
  EXPECT_EQ(show("web").uuid, web.uuid);
  ASSERT_TRUE(manager_->rollback("web@b", {.delete_newer = true}));
  EXPECT_THAT(names(true), ElementsAre("web@b", "web@c"));
  EXPECT_EQ(show("web").phase, Phase::off);
  close();
  open();
  EXPECT_THAT(names(true), ElementsAre("web@b", "web@c"));
  ASSERT_TRUE(manager_->rollback("web@c", {.delete_newer = true, .start = true}));
  EXPECT_THAT(names(true), ElementsAre("web@c"));
  EXPECT_EQ(log_of("web").back().event.generation, 3U);
}

TEST_F(SnapshotTest, TheyGoWithTheirDevice) {
  open();
  create("web");
  create("web-2");
  for (const char* name : {"web@a", "web@b", "web-2@a"}) ASSERT_TRUE(manager_->snapshot(name));
  ASSERT_TRUE(manager_->stop("web", false));
  const auto wiped = manager_->generalize("web");
  EXPECT_EQ(why(wiped), ErrorCode::failed_precondition);
  EXPECT_THAT(wiped.error().message, HasSubstr("web@a"));
  const auto kept = manager_->remove("web", false, false);
  ASSERT_FALSE(kept);
  EXPECT_THAT(kept.error().message, HasSubstr("2 snapshots"));
  EXPECT_THAT(kept.error().hint, HasSubstr("--force"));
  ASSERT_TRUE(manager_->remove("web", false, true));
  EXPECT_THAT(names(false), ElementsAre("web-2"));
  EXPECT_THAT(names(true), ElementsAre("web-2@a"));
  close();
  open();
  EXPECT_THAT(names(true), ElementsAre("web-2@a"));
  ASSERT_TRUE(manager_->remove("web-2@a", false, false));
  EXPECT_THAT(names(true), IsEmpty());
}

TEST_F(SnapshotTest, TheHostKeyChangesUnderThemToo) {
  open();
  const View web = create("web");
  ASSERT_TRUE(manager_->snapshot("web@s"));
  ASSERT_TRUE(manager_->rollback("web@s", {.stop = true}));
  ASSERT_TRUE(manager_->rotate_host_key());
  close();
  open();
  ASSERT_TRUE(manager_->rollback("web@s", {.start = true}));
  EXPECT_TRUE(succeeds(key_of(show("web"))));
  EXPECT_EQ(log_of("web.retired-1").back().event.device, web.uuid);
}

}  // namespace
}  // namespace vtpm::device
