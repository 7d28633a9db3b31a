// SPDX-License-Identifier: Apache-2.0
#include "device/archive.h"

#include <gtest/gtest.h>

#include "base/temporary_folder.h"
#include "store/fault_vfs.h"

namespace vtpm::device {
namespace {

class ArchiveTest : public ::testing::Test {
 protected:
  ArchiveOptions options() {
    return {.state_dir = folder_ / "state", .host_key = {}, .old_host_key = {}, .anchor = {}};
  }
  std::unique_ptr<Archive> open() {
    auto archive = Archive::open(options());
    EXPECT_TRUE(archive) << archive.error().message;
    return archive ? *std::move(archive) : nullptr;
  }
  static store::Record record(unsigned n) {
    store::Record r;
    r.uuid.bytes.fill(std::byte{0x5a});
    store_be32(r.uuid.bytes.data(), n);
    r.settings.name = "device-" + std::to_string(n);
    return r;
  }
  // The store without its manager.
  std::unique_ptr<store::Store> store() {
    auto opened = store::open_sqlite(folder_ / "state/store.db");
    EXPECT_TRUE(opened) << opened.error().message;
    return *std::move(opened);
  }
  std::string outcome() {
    const auto archive = Archive::open(options());
    return archive ? "opened" : std::string(to_string(archive.error().code));
  }
  TemporaryFolder folder_;
};

TEST_F(ArchiveTest, WhatItLeftOpensAgain) {
  ASSERT_TRUE(open()->records().create(record(1)));
  const auto entries = open()->records().list("", 9);
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), 1U);
  EXPECT_TRUE(entries->at(0).record);
}

TEST_F(ArchiveTest, RecordsThatNobodyVouchesForNeedAPersonsWord) {
  {
    auto archive = open();
    for (unsigned n = 1; n <= 2; n++) ASSERT_TRUE(archive->records().create(record(n)));
  }
  for (unsigned n = 1; n <= 2; n++)  // as an older vtpmd left it, or as a thief strips it
    ASSERT_TRUE(store()->revise({{record(n).uuid, {}, {}, {}}}, {}));
  EXPECT_EQ(outcome(), "failed precondition");
  const auto refused = Archive::open(options());
  EXPECT_NE(refused.error().hint.find("--accept-store"), std::string::npos);
  const auto accepted = Archive::accept_store(options());
  ASSERT_TRUE(accepted) << accepted.error().message;
  EXPECT_EQ(accepted->taken.size(), 2U);
  EXPECT_TRUE(accepted->refused.empty());
  EXPECT_TRUE(open()->records().get(record(1).uuid));
}

TEST_F(ArchiveTest, AcceptingTakesNoForgedRecord) {
  {
    auto archive = open();
    for (unsigned n = 1; n <= 3; n++) ASSERT_TRUE(archive->records().create(record(n)));
  }
  ASSERT_TRUE(store()->set_powered(record(1).uuid, {}, true, {}));  // stripped
  store::Record other = *store()->get(record(3).uuid);
  ASSERT_TRUE(store()->set_powered(record(2).uuid, {}, true, other.voucher));
  const auto accepted = Archive::accept_store(options());
  ASSERT_TRUE(accepted) << accepted.error().message;
  EXPECT_EQ(accepted->taken, std::vector<std::string>{"device-3"});
  EXPECT_EQ(accepted->refused, (std::vector<std::string>{"device-1", "device-2"}));
  EXPECT_FALSE(open()->records().get(record(1).uuid));
  EXPECT_TRUE(open()->records().get(record(3).uuid));
}

TEST_F(ArchiveTest, AnotherHostKeyOrNoteIsRefused) {
  ASSERT_TRUE(open()->records().create(record(1)));
  const Bytes note = *store()->note();
  for (std::size_t i = 0; i < note.size(); i++) {
    Bytes bad = note;
    bad[i] ^= std::byte{1};
    ASSERT_TRUE(store()->revise({}, bad));
    EXPECT_EQ(outcome(), "corrupt") << i;
    EXPECT_FALSE(Archive::accept_store(options()));
  }
  ASSERT_TRUE(store()->revise({}, note));
  EXPECT_EQ(outcome(), "opened");
  auto mine = options();
  mine.host_key = folder_ / "other.key";
  ASSERT_TRUE(store::HostKey::from_file(mine.host_key, true));
  EXPECT_EQ(Archive::open(mine).error().code, ErrorCode::corrupt);
  ASSERT_TRUE(store()->revise({{record(1).uuid, {}, {}, {}}}, {}));
}

// A sync that fails leaves the outcome open, at whatever write: that is told, and nothing is lost.
TEST_F(ArchiveTest, AnOutcomeThatNobodyKnowsIsToldAndHarmless) {
  store::FaultVfs vfs(37);
  vfs.fail_syncs(1, SQLITE_IOERR_FSYNC);
  EXPECT_NE(outcome(), "opened");
  vfs.fail_syncs(0, 0);
  ASSERT_TRUE(open()->records().create(record(1)));
  ASSERT_TRUE(store()->revise({{record(1).uuid, {}, {}, {}}}, {}));
  {
    vfs.fail_syncs(1, SQLITE_IOERR_FSYNC);
    const auto accepted = Archive::accept_store(options());
    vfs.fail_syncs(0, 0);
    ASSERT_FALSE(accepted);
    EXPECT_EQ(accepted.error().code, ErrorCode::unknown_outcome);
  }
  const auto accepted = Archive::accept_store(options());
  ASSERT_TRUE(accepted) << accepted.error().message;
  EXPECT_EQ(accepted->taken.size(), 1U);
  EXPECT_TRUE(open()->records().get(record(1).uuid));
}

TEST_F(ArchiveTest, NoKeyIsMadeBesideWhatAnotherKeySealed) {
  (void)open();
  ASSERT_EQ(::unlink((folder_ / "state/host.key").c_str()), 0);
  EXPECT_EQ(outcome(), "not found");
}

}  // namespace
}  // namespace vtpm::device
