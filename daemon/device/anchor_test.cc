// SPDX-License-Identifier: Apache-2.0
// Old copies of the store, and a TPM of the host that knows better. The TPM is a vTPM of ours.
#include "device/anchor.h"

#include <gtest/gtest.h>

#include "device/archive.h"
#include "device/test_host.h"

namespace vtpm::device::testing {
namespace {

class AnchorTest : public ManagerTest {
 protected:
  AnchorTest() {
    ::setenv("TSS2_LOG", "all+NONE", 1);
    open();
    options_.anchor = "tpm:swtpm:path=" + create("host").socket_path;
    options_.state_dir = folder_ / "other";
  }
  // A run of vtpmd that starts a device; it ends by itself, or crashes.
  void run(bool clean = true) {
    auto archive = Archive::open(options_);
    ASSERT_TRUE(archive) << archive.error().message;
    Records& records = (*archive)->records();
    auto record = records.get(id_);
    if (!record) {
      store::Record fresh;
      fresh.uuid = id_;
      fresh.settings.name = "one";
      ASSERT_TRUE(records.create(fresh));
      record = records.get(id_);
    }
    ASSERT_TRUE(records.acquire(id_, record->version, "me"));
    if (clean) {
      const auto ended = (*archive)->end_run();
      ASSERT_TRUE(ended) << ended.error().message;
    }
  }
  std::string outcome() {
    auto archive = Archive::open(options_);
    if (!archive) return archive.error().message;
    const auto record = (*archive)->records().get(id_);
    (void)(*archive)->end_run();
    return record ? "good" : record.error().message;
  }
  void keep(const std::string& name) {
    std::filesystem::remove_all(folder_ / name);
    std::filesystem::copy(options_.state_dir, folder_ / name);
  }
  void put_back(const std::string& name) {
    std::filesystem::remove_all(options_.state_dir);
    std::filesystem::copy(folder_ / name, options_.state_dir);
  }
  void expect_old() { EXPECT_NE(outcome().find("is an old copy"), std::string::npos) << outcome(); }

  ArchiveOptions options_;
  const Uuid id_{{std::byte{7}}};
};

TEST_F(AnchorTest, AnOldCopyOfTheStoreIsRefusedUntilAPersonAcceptsIt) {
  run();
  EXPECT_EQ(outcome(), "good");
  keep("backup");
  run();
  keep("present");
  put_back("backup");
  expect_old();
  expect_old();  // saying so changes nothing
  const auto accepted = Archive::accept_store(options_);
  ASSERT_TRUE(accepted) << accepted.error().message;
  EXPECT_EQ(accepted->taken, std::vector<std::string>{"one"});
  EXPECT_EQ(outcome(), "good");
  put_back("present");  // it is the old one now
  expect_old();
}

TEST_F(AnchorTest, AfterACrashACopyOfBeforeThatRunIsRefused) {
  run();
  keep("backup");
  run(false);
  keep("crashed");
  EXPECT_EQ(outcome(), "good") << "a crash needs nobody's word";
  put_back("crashed");
  expect_old();
  put_back("backup");
  expect_old();
}

// What is not told: two states of one run that crashed. The documents say so.
TEST_F(AnchorTest, WithinARunThatCrashedCopiesAreNotToldApart) {
  run();
  {
    auto archive = Archive::open(options_);
    ASSERT_TRUE(archive);
    keep("early");
    const auto record = (*archive)->records().get(id_);
    ASSERT_TRUE((*archive)->records().set_powered(id_, record->version, true));
  }
  put_back("early");
  EXPECT_EQ(outcome(), "good");
}

TEST_F(AnchorTest, OneRecordPutBackWhileNobodyRunsIsRefusedAlone) {
  run();
  store::Record old;
  const auto with_store = [&](const auto& work) {
    const auto store = store::open_sqlite(options_.state_dir + "/store.db");
    ASSERT_TRUE(store);
    work(**store);
  };
  with_store([&](store::Store& s) { old = *s.get(id_); });
  EXPECT_EQ(outcome(), "good");
  with_store([&](store::Store& s) {
    ASSERT_EQ(s.get(id_)->version, old.version);
    ASSERT_TRUE(s.set_powered(id_, old.version, old.powered, old.voucher));
  });
  EXPECT_NE(outcome().find("the record was put back"), std::string::npos);
}

TEST_F(AnchorTest, DyingBetweenStoreAndTpmIsNoReplay) {
  run();
  {
    auto archive = Archive::open(options_);
    ASSERT_TRUE(archive);
    ASSERT_TRUE(manager_->stop("host", false));
    EXPECT_FALSE((*archive)->end_run()) << "the store is of the next run, the TPM has not counted";
  }
  EXPECT_NE(outcome(), "good") << "without its TPM it does not start";
  ASSERT_TRUE(manager_->start("host"));
  EXPECT_EQ(outcome(), "good");
  EXPECT_EQ(outcome(), "good");
}

TEST_F(AnchorTest, GivingUpOrTakingUpTheAnchorNeedsAPersonsWord) {
  run();
  const std::string anchor = std::exchange(options_.anchor, "");
  EXPECT_NE(outcome().find("without --anchor"), std::string::npos);
  ASSERT_TRUE(Archive::accept_store(options_));
  EXPECT_EQ(outcome(), "good");
  options_.anchor = anchor;
  EXPECT_NE(outcome().find("no TPM has counted"), std::string::npos);
  ASSERT_TRUE(Archive::accept_store(options_));
  EXPECT_EQ(outcome(), "good");
  // An empty store in the place of one that was counted.
  std::filesystem::remove(options_.state_dir + "/store.db");
  EXPECT_NE(outcome().find("the store is empty"), std::string::npos);
  EXPECT_EQ(Archive::accept_store({options_.state_dir, "", "", "/dev/tpmrm0"}).error().code,
            ErrorCode::invalid_argument);
}

TEST_F(AnchorTest, ANewHostKeyKeepsTheAnchor) {
  run();
  {
    auto archive = Archive::open(options_);
    ASSERT_TRUE(archive);
    const auto rotated = (*archive)->rotate_host_key();
    ASSERT_TRUE(rotated) << rotated.error().message;
    EXPECT_TRUE((*archive)->end_run());
  }
  EXPECT_EQ(outcome(), "good");
}

}  // namespace
}  // namespace vtpm::device::testing
