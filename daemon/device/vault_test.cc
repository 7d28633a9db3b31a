// SPDX-License-Identifier: Apache-2.0
// Vault and Committer over the real store and the real sealing.
#include "device/vault.h"

#include <gtest/gtest.h>

#include "base/temporary_folder.h"
#include "device/committer.h"
#include "privsep/messages.h"

namespace vtpm::device {
namespace {

class VaultTest : public ::testing::Test {
 protected:
  VaultTest() {
    auto store = store::open_sqlite(folder_ / "store.db");
    EXPECT_TRUE(store);
    store_ = *std::move(store);
    vault_.emplace(host_key());
    record_.uuid.bytes.fill(std::byte{1});
    record_.settings.name = "one";
    EXPECT_TRUE(store_->create(record_));
    refresh();
  }
  store::HostKey host_key() {
    auto key = store::HostKey::from_file(folder_ / "host.key", true);
    EXPECT_TRUE(key);
    return *std::move(key);
  }
  void refresh() { record_ = *store_->get(record_.uuid); }
  Checkpoint checkpoint(std::string_view text) const {
    Checkpoint c;
    c.permanent_version = record_.version.generation + 1;
    c.permanent = to_secret(as_bytes(text));
    return c;
  }
  void commit(std::string_view text) {
    const auto request = vault_->prepare(record_, checkpoint(text));
    ASSERT_TRUE(request);
    const auto done = store_->commit_all({*request});
    ASSERT_EQ(done.size(), 1U);
    ASSERT_TRUE(done[0]) << done[0].error().message;
    refresh();
  }
  std::string text_of(const Result<std::optional<Checkpoint>>& opened) const {
    if (!opened) return "error: " + opened.error().message;
    return *opened ? std::string(as_text((*opened)->permanent)) : "none";
  }
  TemporaryFolder folder_;
  std::unique_ptr<store::Store> store_;
  std::optional<Vault> vault_;
  store::Record record_;
};

TEST_F(VaultTest, WhatWasCommittedOpensAlsoInALaterRun) {
  EXPECT_EQ(text_of(vault_->open(record_)), "none");
  commit("first");
  EXPECT_EQ(text_of(vault_->open(record_)), "first");
  commit("second");
  Vault later(host_key());
  EXPECT_EQ(text_of(later.open(record_)), "second");
  const std::string sealed(as_text(record_.state.bytes));
  EXPECT_EQ(sealed.find("second"), std::string::npos);
}

TEST_F(VaultTest, AnotherEpochStillOpensWhatAnEarlierOneSealed) {
  commit("first");
  ASSERT_TRUE(store_->acquire(record_.uuid, record_.version, "me", {}));
  refresh();
  EXPECT_EQ(text_of(vault_->open(record_)), "first");
}

// The first commit of a device brings its key. If the store refuses that one, the next must bring
// the key again, or a state is stored that nobody can ever open.
TEST_F(VaultTest, AKeyThatTheStoreDidNotTakeIsOfferedAgain) {
  const auto refused = vault_->prepare(record_, checkpoint("refused"));
  ASSERT_TRUE(refused);
  EXPECT_FALSE(refused->wrapped_key.empty());
  commit("taken");
  Vault later(host_key());
  EXPECT_EQ(text_of(later.open(record_)), "taken");
}

TEST_F(VaultTest, AnOldStateBesideANewVersionDoesNotOpen) {
  commit("old");
  const store::SealedBlob old = record_.state;
  commit("new");
  auto forged = record_;
  forged.state = old;  // with the numbers it was sealed under
  EXPECT_FALSE(vault_->open(forged));
  forged.state.generation = record_.state.generation;
  EXPECT_FALSE(vault_->open(forged));
}

TEST_F(VaultTest, AStateThatIsGoneIsNotAFreshDevice) {
  commit("identity");
  auto forged = record_;
  forged.settings.mode = static_cast<std::uint8_t>(privsep::DeviceMode::read_write);
  forged.state = {};
  EXPECT_FALSE(vault_->open(forged)) << "a new identity would be made in silence";
}

TEST_F(VaultTest, EveryDamageIsAnError) {
  commit("state");
  for (std::size_t i = 0; i < record_.state.bytes.size(); i += 7) {
    auto damaged = record_;
    damaged.state.bytes[i] ^= std::byte{1};
    EXPECT_FALSE(vault_->open(damaged)) << "byte " << i;
  }
  for (const std::size_t size : {std::size_t{1}, record_.state.bytes.size() - 1}) {
    auto cut = record_;
    cut.state.bytes.resize(size);
    EXPECT_FALSE(vault_->open(cut)) << "cut to " << size;
  }
  auto moved = record_;
  moved.uuid.bytes.fill(std::byte{2});
  EXPECT_FALSE(vault_->open(moved)) << "a state of another device";
  auto keyless = record_;
  keyless.wrapped_key.clear();
  EXPECT_FALSE(Vault(host_key()).open(keyless));
}

// As vtpmd wrote them before a record had a time of its own for parking (1), or a lineage (2).
TEST_F(VaultTest, VouchersOfOlderFormatsAreGoodForRecordsOfTheirTime) {
  record_.settings.owner = "owner";
  record_.settings.socket_path = "/s";
  record_.version = {.owner = "me", .epoch = 6, .generation = 5};
  Bytes words;
  Writer(words).u8(1).u64(7).bytes(record_.uuid.bytes);
  Writer(words).sized16(as_bytes("one")).sized16(as_bytes("owner")).u8(1).u8(1).u8(1);
  Writer(words).sized16(as_bytes("/s")).u8(0).u32(0).u32(0).sized16(as_bytes("me")).u64(6).u64(5);
  Writer(words).sized16({}).u8(0).sized16({}).u64(0).u64(0).sized16({});
  const auto mac = host_key().authenticate("record", words);
  ASSERT_TRUE(mac);
  record_.voucher.clear();
  Writer(record_.voucher).u8(1).u64(7).bytes(*mac);
  const auto run = vault_->check_voucher(record_);
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_EQ(*run, 7U);
  record_.settings.park_after_s = 0;
  EXPECT_FALSE(vault_->check_voucher(record_)) << "what that format does not cover";
  record_.settings.park_after_s.reset();
  record_.settings.role = store::Role::template_device;
  EXPECT_FALSE(vault_->check_voucher(record_)) << "nor this";
  record_.settings.role = store::Role::device;
  record_.lineage = Bytes(40);
  EXPECT_FALSE(vault_->check_voucher(record_)) << "nor this";
  record_.lineage.clear();
  record_.settings.cert_profile = 1;
  EXPECT_FALSE(vault_->check_voucher(record_)) << "nor this";
  record_.settings.cert_profile = 0;
  record_.taken_us = 1;
  EXPECT_FALSE(vault_->check_voucher(record_)) << "nor this";
  record_.taken_us = 0;
  EXPECT_EQ(vault_->vouch(record_, 7)->at(0), std::byte{6}) << "the next write";
}

TEST_F(VaultTest, ALineageIsSealedForItsDeviceAndNothingElse) {
  EXPECT_EQ(vault_->open_lineage(record_).value(), std::nullopt);
  const SecretBytes lineage = to_secret(as_bytes("the key of a family"));
  const auto request = vault_->prepare(record_, checkpoint("state"), {2, lineage});
  ASSERT_TRUE(request);
  EXPECT_EQ(as_text(request->lineage).find("the key"), std::string_view::npos);
  ASSERT_TRUE(store_->commit_all({*request})[0]);
  refresh();
  EXPECT_EQ(vault_->open_lineage(record_).value(), lineage);
  commit("another state");
  EXPECT_EQ(vault_->open_lineage(record_).value(), lineage) << "it stays with the device";
  auto swapped = record_;
  std::swap(swapped.lineage, swapped.state.bytes);
  EXPECT_FALSE(vault_->open_lineage(swapped));
  EXPECT_FALSE(vault_->open(swapped));
  auto moved = record_;
  moved.uuid.bytes.fill(std::byte{2});
  EXPECT_FALSE(vault_->open_lineage(moved));
}

TEST_F(VaultTest, AnotherHostKeyOpensNothing) {
  commit("state");
  auto other = store::HostKey::from_file(folder_ / "other.key", true);
  ASSERT_TRUE(other);
  EXPECT_FALSE(Vault(*std::move(other)).open(record_));
}

TEST_F(VaultTest, TheCommitterAnswersEachCommitOnceAndWithItsOwnResult) {
  store::Record second;
  second.uuid.bytes.fill(std::byte{9});
  second.settings.name = "two";
  ASSERT_TRUE(store_->create(second));
  second = *store_->get(second.uuid);
  store::Record stale = second;
  stale.version.generation = 7;
  Records records(*store_, *vault_, 0);
  for (const store::Record& r : {record_, second})
    ASSERT_TRUE(store_->revise({{r.uuid, r.version, {}, *vault_->vouch(r, 0)}}, {}));

  Committer committer(records, *vault_);
  std::vector<std::string> answers;
  const auto note = [&](const char* name) {
    return [&answers, name](const Result<store::Version>& version, const Bytes& key) {
      answers.push_back(std::string(name) + (version ? " ok" : " no") +
                        (key.empty() ? "" : " key"));
    };
  };
  committer.flush();
  committer.add(record_, checkpoint("a"), note("one"));
  Checkpoint bad = checkpoint("b");
  bad.permanent_version = 8;
  committer.add(stale, bad, note("stale"));
  EXPECT_TRUE(answers.empty()) << "answered before the round's end";
  committer.flush();
  committer.flush();
  EXPECT_EQ(answers.size(), 2U);
  EXPECT_EQ(answers.front(), "one ok key");
  EXPECT_TRUE(answers.back().starts_with("stale no")) << answers.back();
  refresh();
  EXPECT_EQ(text_of(vault_->open(record_)), "a");
}

TEST_F(VaultTest, ANewRecordBeginsWithAStateOfItsOwn) {
  commit("first");
  Uuid other;
  other.bytes.fill(std::byte{2});
  store::Settings settings = record_.settings;
  settings.name = "one@before";
  settings.role = store::Role::snapshot;
  const auto copy =
      vault_->begin(other, settings, vault_->open(record_)->value(), to_secret(as_bytes("line")));
  ASSERT_TRUE(copy) << copy.error().message;
  EXPECT_EQ(copy->settings, settings);
  EXPECT_EQ(copy->version.generation, 1U);
  ASSERT_TRUE(store_->create(*copy));
  vault_.emplace(host_key());
  EXPECT_EQ(text_of(vault_->open(*copy)), "first");
  EXPECT_EQ(as_text(**vault_->open_lineage(*copy)), "line");
  // What is of one device is of no use to another, whatever is said of it.
  store::Record foreign = *copy;
  foreign.uuid = record_.uuid;
  EXPECT_FALSE(vault_->open(foreign));
  foreign = record_;
  foreign.state = copy->state;
  EXPECT_FALSE(vault_->open(foreign));
}

TEST_F(VaultTest, OfARetiredDeviceTheLineageIsLeftUnderAnotherKey) {
  commit("first");
  const auto remains = vault_->retire(record_.uuid, as_bytes("line"));
  ASSERT_TRUE(remains) << remains.error().message;
  const store::Record before = record_;
  record_.settings.role = store::Role::retired;
  record_.version.generation++;
  record_.state = {};
  record_.wrapped_key = remains->wrapped_key;
  record_.lineage = remains->lineage;
  vault_->forget(record_.uuid);
  EXPECT_EQ(text_of(vault_->open(record_)), "none");
  EXPECT_EQ(as_text(**vault_->open_lineage(record_)), "line");
  record_.state = before.state;
  EXPECT_FALSE(vault_->open(record_)) << "its old state has no key any more";
}

}  // namespace
}  // namespace vtpm::device
