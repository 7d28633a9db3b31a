// SPDX-License-Identifier: Apache-2.0
// Records over the real store: every column forged, records put back, writes whose outcome is open.
#include "device/records.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/temporary_folder.h"

namespace vtpm::device {
namespace {

using store::Record;

constexpr std::uint64_t kRun = 7;

class RecordsTest : public ::testing::Test {
 protected:
  RecordsTest() {
    auto opened = store::open_sqlite(folder_ / "store.db");
    auto key = store::HostKey::from_file(folder_ / "host.key", true);
    EXPECT_TRUE(opened && key);
    store_ = *std::move(opened);
    vault_.emplace(*std::move(key));
    records_.emplace(*store_, *vault_, kRun);
    record_.uuid.bytes.fill(std::byte{1});
    record_.settings.name = "one";
    record_.settings.owner = "owner";
    record_.settings.socket_path = "/s";
    record_.wrapped_key = Bytes(61, std::byte{2});
    record_.state = {.bytes = Bytes(100, std::byte{3}), .epoch = 4, .generation = 5};
    record_.version = {.owner = "me", .epoch = 6, .generation = 5};
    record_.failure = "why";
    EXPECT_TRUE(records_->create(record_));
  }
  // As the next run of vtpmd, which remembers nothing; its number is `run`.
  Records later(std::uint64_t run = kRun) { return {*store_, *vault_, run}; }
  TemporaryFolder folder_;
  std::unique_ptr<store::Store> store_;
  std::optional<Vault> vault_;
  std::optional<Records> records_;
  Record record_;
};

TEST_F(RecordsTest, EveryWriteCanBeReadByALaterRunOfTheSameNumber) {
  const Uuid id = record_.uuid;
  EXPECT_TRUE(later().get(id));
  auto version = records_->acquire(id, record_.version, "you");
  ASSERT_TRUE(version);
  EXPECT_TRUE(later().get(id));
  EXPECT_TRUE(records_->set_powered(id, *version, true));
  EXPECT_TRUE(later().get(id)->powered);
  EXPECT_TRUE(records_->set_failure(id, *version, "crashed"));
  EXPECT_EQ(later().get(id)->failure, "crashed");
  store::Settings settings = record_.settings;
  settings.owner = "another";
  settings.park_after_s = 60;
  EXPECT_TRUE(records_->set_settings(id, *version, settings));
  EXPECT_EQ(later().get(id)->settings, settings);
  store::SealedBlob state{
      .bytes = Bytes(300, std::byte{9}), .epoch = 7, .generation = version->generation + 1};
  for (int i = 0; i < 2; i++) {
    const auto done = records_->commit_all({{id, *version, state, Bytes(40), {}}});
    ASSERT_TRUE(done.at(0)) << done[0].error().message;
    version = done[0];
    state.generation++;
    EXPECT_EQ(later().get(id)->version, *version);
  }
  // A manager that has not read the record yet writes as well.
  Records other = later();
  EXPECT_TRUE(other.acquire(id, *version, "third"));
  EXPECT_EQ(later().list("", 9)->at(0).record->version.owner, "third");
  EXPECT_EQ(records_->set_powered(id, *version, true).error().code, ErrorCode::conflict);
}

TEST_F(RecordsTest, EveryColumnIsVouchedFor) {
  const std::vector<std::pair<const char*, std::function<void(Record&)>>> forgeries{
      {"uuid", [](Record& r) { r.uuid.bytes[3] ^= std::byte{1}; }},
      {"name", [](Record& r) { r.settings.name = "two"; }},
      {"owner", [](Record& r) { r.settings.owner = "thief"; }},
      {"kind", [](Record& r) { r.settings.kind = 3; }},
      {"mode", [](Record& r) { r.settings.mode = 2; }},
      {"node", [](Record& r) { r.settings.node = 2; }},
      {"socket path", [](Record& r) { r.settings.socket_path = "/etc/shadow"; }},
      {"hmac", [](Record& r) { r.settings.linux_hmac = true; }},
      {"command time-out", [](Record& r) { r.settings.command_timeout_ms = 1; }},
      {"detach time-out", [](Record& r) { r.settings.detach_timeout_ms = 1; }},
      {"time for parking", [](Record& r) { r.settings.park_after_s = 1; }},
      {"no parking", [](Record& r) { r.settings.park_after_s = 0; }},
      {"certificates", [](Record& r) { r.settings.cert_profile = 2; }},
      {"role", [](Record& r) { r.settings.role = store::Role::template_device; }},
      {"manager", [](Record& r) { r.version.owner = "you"; }},
      {"epoch", [](Record& r) { r.version.epoch++; }},
      {"generation", [](Record& r) { r.version.generation++; }},
      {"wrapped key", [](Record& r) { r.wrapped_key[9] ^= std::byte{1}; }},
      {"no wrapped key", [](Record& r) { r.wrapped_key.clear(); }},
      {"state", [](Record& r) { r.state.bytes.back() ^= std::byte{1}; }},
      {"no state", [](Record& r) { r.state = {}; }},
      {"lineage", [](Record& r) { r.lineage = Bytes(16, std::byte{1}); }},
      {"epoch of the state", [](Record& r) { r.state.epoch++; }},
      {"generation of the state", [](Record& r) { r.state.generation++; }},
      {"time of a snapshot", [](Record& r) { r.taken_us = 1; }},
      {"power", [](Record& r) { r.powered = true; }},
      {"failure", [](Record& r) { r.failure.clear(); }},
      {"voucher", [](Record& r) { r.voucher.back() ^= std::byte{1}; }},
      {"run", [](Record& r) { r.voucher[8] ^= std::byte{1}; }},
      {"short voucher", [](Record& r) { r.voucher.pop_back(); }},
      {"long voucher", [](Record& r) { r.voucher.push_back({}); }},
      {"no voucher", [](Record& r) { r.voucher.clear(); }},
  };
  const Record sound = *store_->get(record_.uuid);
  EXPECT_TRUE(vault_->check_voucher(sound));
  for (const auto& [what, change] : forgeries) {
    Record bad = sound;
    change(bad);
    const auto checked = vault_->check_voucher(bad);
    ASSERT_FALSE(checked) << what;
    EXPECT_EQ(checked.error().code, ErrorCode::corrupt) << what;
  }
}

TEST_F(RecordsTest, ARecordOfAnotherRunIsRefused) {
  EXPECT_TRUE(later(kRun).get(record_.uuid));
  const auto old = later(kRun + 1).get(record_.uuid);
  ASSERT_FALSE(old);
  EXPECT_EQ(old.error().code, ErrorCode::corrupt);
  EXPECT_NE(old.error().message.find("put back"), std::string::npos) << old.error().message;
}

TEST_F(RecordsTest, AnOlderRecordOfThisRunIsRefused) {
  const Uuid id = record_.uuid;
  const Record old = *store_->get(id);
  ASSERT_TRUE(records_->set_powered(id, record_.version, true));
  ASSERT_TRUE(store_->set_powered(id, record_.version, false, old.voucher));
  EXPECT_TRUE(vault_->check_voucher(*store_->get(id))) << "good in itself";
  const auto put_back = records_->get(id);
  ASSERT_FALSE(put_back);
  EXPECT_EQ(put_back.error().code, ErrorCode::corrupt);
}

// An identity that was wiped: what is vouched for has neither state nor key.
TEST_F(RecordsTest, ACommitWithoutAStateIsVouchedFor) {
  const Uuid id = record_.uuid;
  ASSERT_FALSE(store_->get(id)->wrapped_key.empty());
  const auto wiped =
      std::move(records_->commit_all({{id, record_.version, {}, {}, {}, 1}}).front());
  ASSERT_TRUE(wiped) << wiped.error().message;
  const auto read = records_->get(id);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_TRUE(read->wrapped_key.empty());
  EXPECT_TRUE(read->state.bytes.empty());
  EXPECT_EQ(vault_->open(*read), std::nullopt);
}

TEST_F(RecordsTest, ASuccessionIsVouchedFor) {
  Record heir = record_;
  heir.uuid.bytes[0] = std::byte{8};
  heir.wrapped_key.clear();
  heir.state = {};
  Record gone = heir;
  gone.uuid.bytes[0] = std::byte{9};
  gone.settings.name = "one@newer";
  gone.settings.role = store::Role::snapshot;
  gone.taken_us = 5;
  ASSERT_TRUE(records_->create(gone));
  ASSERT_TRUE(records_->succeed({.retired = record_.uuid,
                                 .expected = record_.version,
                                 .retired_name = "one.retired-1",
                                 .wrapped_key = Bytes(40),
                                 .lineage = Bytes(50),
                                 .voucher = {},
                                 .successor = heir,
                                 .gone = {{gone.uuid, gone.version}}}));
  Records next = later();
  for (Records* reader : {&*records_, &next}) {
    const auto retired = reader->get(record_.uuid);
    ASSERT_TRUE(retired) << retired.error().message;
    EXPECT_EQ(retired->settings.role, store::Role::retired);
    EXPECT_EQ(vault_->open(*retired), std::nullopt);
    const auto there = reader->get(heir.uuid);
    ASSERT_TRUE(there) << there.error().message;
    EXPECT_EQ(there->settings.name, "one");
    EXPECT_EQ(reader->get(gone.uuid).error().code, ErrorCode::not_found);
  }
}

TEST_F(RecordsTest, OneForgedRecordHidesNoOther) {
  Record second = record_;
  second.uuid.bytes[0] = std::byte{8};
  second.settings.name = "two";
  ASSERT_TRUE(records_->create(second));
  ASSERT_TRUE(store_->set_powered(record_.uuid, record_.version, true, {}));
  const auto entries = later().list("", 9);
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), 2U);
  EXPECT_FALSE(entries->at(0).record);
  EXPECT_EQ(entries->at(0).uuid, record_.uuid);
  EXPECT_TRUE(entries->at(1).record);
  Records next = later();
  EXPECT_TRUE(next.discard(record_.uuid));
  EXPECT_EQ(next.list("", 9)->size(), 1U);
}

}  // namespace
}  // namespace vtpm::device
