// SPDX-License-Identifier: Apache-2.0
// The contract on SQLite, and what is SQLite's own: files, rights, lock, versions, damage.
#include <gmock/gmock.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>

#include "base/temporary_folder.h"
#include "store/store_contract.h"

namespace vtpm::store {
namespace {

using ::testing::HasSubstr;

class SqliteBacking final : public Backing {
 public:
  Result<std::unique_ptr<Store>> open() override { return open_sqlite(folder_ / "store.db"); }

 private:
  TemporaryFolder folder_;
};
std::unique_ptr<Backing> make_sqlite_backing() { return std::make_unique<SqliteBacking>(); }

INSTANTIATE_TEST_SUITE_P(Sqlite, StoreContract, ::testing::Values(&make_sqlite_backing));

mode_t mode_of(const std::string& path) {
  struct stat st{};
  return ::lstat(path.c_str(), &st) == 0 ? st.st_mode & 07777U : 0U;
}

class SqliteFile : public ::testing::Test {
 protected:
  // A store with devices 1 to n; each is held and has a state.
  void fill(unsigned n) {
    const auto store = open_sqlite(path_);
    ASSERT_TRUE(store.has_value()) << store.error().message;
    for (unsigned i = 1; i <= n; i++) {
      ASSERT_OK((*store)->create(test_record(i)));
      const Version v = *(*store)->acquire(test_uuid(i), Version{}, "m", {});
      ASSERT_OK((*store)->commit(test_uuid(i), v, test_blob(v, 9000), as_bytes("key"), {}));
    }
  }
  // Another program that writes into the file.
  void tamper(const char* sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
    sqlite3_close(db);
  }
  Result<void> open() {
    VTPM_TRY(const auto store, open_sqlite(path_));
    return {};
  }
  TemporaryFolder folder_;
  const std::string path_ = folder_ / "store.db";
};

TEST_F(SqliteFile, IsReadableByNobodyElseWhateverTheUmask) {
  const std::string path = folder_ / "new/store.db";
  const mode_t before = ::umask(0);
  {
    const auto store = open_sqlite(path);
    ASSERT_TRUE(store.has_value()) << store.error().message;
    ASSERT_OK((*store)->create(test_record(1)));
    EXPECT_EQ(mode_of(folder_ / "new"), 0700U);
    for (const char* suffix : {"", "-wal", "-shm", ".lock"})
      EXPECT_EQ(mode_of(path + suffix), 0600U) << suffix;
  }
  ::umask(before);
}

TEST_F(SqliteFile, IsRefusedWhereOthersMayReadIt) {
  fill(1);
  ASSERT_EQ(::chmod(path_.c_str(), 0640), 0);
  auto result = open();
  EXPECT_FAILS(result, permission);
  EXPECT_EQ(result.error().hint, "chmod 0600 " + path_);
  ASSERT_EQ(::chmod(path_.c_str(), 0600), 0);
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0755), 0);
  result = open();
  EXPECT_FAILS(result, permission);
  EXPECT_EQ(result.error().hint, "chmod 0700 " + folder_.path());
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0700), 0);
  EXPECT_TRUE(open().has_value());
}

TEST_F(SqliteFile, IsNoSymbolicLinkAndHasAName) {
  fill(1);
  ASSERT_EQ(::symlink(path_.c_str(), (folder_ / "link.db").c_str()), 0);
  EXPECT_FAILS(open_sqlite(folder_ / "link.db"), permission);
  EXPECT_FAILS(open_sqlite(folder_.path() + "/"), invalid_argument);
  EXPECT_FAILS(open_sqlite(""), invalid_argument);
  EXPECT_FAILS(open_sqlite(folder_ / std::string("a\0b", 3)), invalid_argument);
  EXPECT_FAILS(open_sqlite(folder_ / "no/such/store.db"), not_found);
}

TEST_F(SqliteFile, IsOpenInOneManagerAtATime) {
  // A second path to the same folder is no way round.
  const std::string alias = folder_.path() + "-alias";
  ASSERT_EQ(::symlink(folder_.path().c_str(), alias.c_str()), 0);
  auto first = open_sqlite(path_);
  ASSERT_TRUE(first.has_value()) << first.error().message;
  for (const std::string& path : {path_, alias + "/store.db"}) {
    const auto second = open_sqlite(path);
    EXPECT_FAILS(second, busy);
    if (second) continue;
    EXPECT_THAT(second.error().message, HasSubstr("process " + std::to_string(::getpid())));
    EXPECT_THAT(second.error().hint, HasSubstr("stop"));
  }
  EXPECT_TRUE((*first)->create(test_record(1)).has_value());  // undisturbed
  first->reset();
  const auto next = open_sqlite(alias + "/store.db");
  ASSERT_TRUE(next.has_value()) << next.error().message;
  EXPECT_TRUE((*next)->get(test_uuid(1)).has_value());
  ::unlink(alias.c_str());
}

TEST_F(SqliteFile, OfANewerVersionIsLeftAlone) {
  fill(1);
  tamper("PRAGMA user_version = 9");
  const std::string before = read_file(path_);
  const auto result = open();
  EXPECT_FAILS(result, unsupported);
  EXPECT_THAT(result.error().message, HasSubstr("schema version 9, this vtpmd knows 8"));
  EXPECT_THAT(result.error().hint, HasSubstr("upgrade vtpmd"));
  EXPECT_EQ(read_file(path_), before);
}

// What version 1 was: no vouchers and no note.
TEST_F(SqliteFile, OfVersionOneComesOutWithoutVouchers) {
  fill(2);
  tamper(
      "ALTER TABLE device DROP COLUMN voucher; ALTER TABLE device DROP COLUMN park_after_s; "
      "ALTER TABLE device DROP COLUMN role; ALTER TABLE device DROP COLUMN cert_profile; "
      "ALTER TABLE device DROP COLUMN taken_us; DROP TABLE note; DROP TABLE lineage; "
      "DROP TABLE withdrawn; PRAGMA user_version = 1");
  {
    const auto store = open_sqlite(path_);
    ASSERT_TRUE(store.has_value()) << store.error().message;
    const auto record = (*store)->get(test_uuid(1));
    ASSERT_TRUE(record.has_value()) << record.error().message;
    EXPECT_TRUE(record->voucher.empty());
    EXPECT_FALSE(record->state.bytes.empty());
    EXPECT_TRUE((*store)->note()->empty());
    ASSERT_OK((*store)->revise({}, as_bytes("note")));
  }
  EXPECT_TRUE(open().has_value());
  tamper("PRAGMA user_version = 1");  // with the tables of a later one
  EXPECT_FAILS(open(), corrupt);
}

// What version 2 was: no time of its own for parking.
TEST_F(SqliteFile, OfVersionTwoComesOutWithoutTimesForParking) {
  fill(2);
  tamper(
      "ALTER TABLE device DROP COLUMN park_after_s; ALTER TABLE device DROP COLUMN role; "
      "ALTER TABLE device DROP COLUMN cert_profile; ALTER TABLE device DROP COLUMN taken_us; "
      "DROP TABLE lineage; DROP TABLE withdrawn; PRAGMA user_version = 2");
  const auto store = open_sqlite(path_);
  ASSERT_TRUE(store.has_value()) << store.error().message;
  auto record = (*store)->get(test_uuid(1));
  ASSERT_TRUE(record.has_value()) << record.error().message;
  EXPECT_EQ(record->settings.park_after_s, std::nullopt);
  record->settings.park_after_s = 60;
  ASSERT_OK((*store)->set_settings(test_uuid(1), record->version, record->settings, {}));
  EXPECT_EQ((*store)->get(test_uuid(1))->settings.park_after_s, 60U);
}

// What version 3 was: no templates.
TEST_F(SqliteFile, OfVersionThreeComesOutWithDevicesAlone) {
  fill(2);
  tamper(
      "ALTER TABLE device DROP COLUMN role; ALTER TABLE device DROP COLUMN cert_profile; "
      "ALTER TABLE device DROP COLUMN taken_us; DROP TABLE lineage; DROP TABLE withdrawn; PRAGMA "
      "user_version = 3");
  const auto store = open_sqlite(path_);
  ASSERT_TRUE(store.has_value()) << store.error().message;
  const auto record = (*store)->get(test_uuid(1));
  ASSERT_TRUE(record.has_value()) << record.error().message;
  EXPECT_EQ(record->settings.role, Role::device);
}

// What generalizing a device relies on: neither the file nor its log has the bytes any more.
TEST_F(SqliteFile, AnEmptyStateLeavesNothingOfTheOneBefore) {
  const auto store = open_sqlite(path_);
  ASSERT_TRUE(store.has_value()) << store.error().message;
  ASSERT_OK((*store)->create(test_record(1)));
  ASSERT_OK((*store)->create(test_record(2)));
  const std::string secret = "the sealed state of a device";
  const std::string key = "the wrapped key of a device";
  Version v = *(*store)->acquire(test_uuid(1), Version{}, "m", {});
  for (int i = 0; i < 3; i++) {
    SealedBlob blob = test_blob(v, std::size_t{50} * 1024);
    std::ranges::copy(as_bytes(secret), blob.bytes.begin() + 20'000);
    v = *(*store)->commit(test_uuid(1), v, blob, as_bytes(key), {});
  }
  const auto files_have = [this](const std::string& text) {
    return (read_file(path_) + read_file(path_ + "-wal")).find(text) != std::string::npos;
  };
  EXPECT_TRUE(files_have(secret));
  EXPECT_TRUE(files_have(key));
  const std::string family = "the sealed key of a family";
  const auto grown = (*store)->commit_all(
      {{test_uuid(1), v, test_blob(v), {}, {}, 0, to_bytes(as_bytes(family))}});
  ASSERT_OK(grown[0]);
  v = *grown[0];
  EXPECT_TRUE(files_have(family));
  ASSERT_OK((*store)->commit(test_uuid(1), v, {}, {}, {}, 1));
  EXPECT_FALSE(files_have(secret));
  EXPECT_FALSE(files_have(key));
  EXPECT_FALSE(files_have(family));
  EXPECT_TRUE((*store)->get(test_uuid(1))->lineage.empty());
}

// What version 4 was: no lineage.
TEST_F(SqliteFile, OfVersionFourComesOutWithoutLineage) {
  fill(2);
  tamper(
      "DROP TABLE lineage; ALTER TABLE device DROP COLUMN cert_profile; "
      "ALTER TABLE device DROP COLUMN taken_us; DROP TABLE withdrawn; PRAGMA user_version = 4");
  const auto store = open_sqlite(path_);
  ASSERT_TRUE(store.has_value()) << store.error().message;
  const auto record = (*store)->get(test_uuid(1));
  ASSERT_TRUE(record.has_value()) << record.error().message;
  EXPECT_TRUE(record->lineage.empty());
  const Version v = record->version;
  const auto done =
      (*store)->commit_all({{test_uuid(1), v, test_blob(v), {}, {}, 0, Bytes(9, std::byte{1})}});
  ASSERT_OK(done[0]);
  EXPECT_EQ((*store)->get(test_uuid(1))->lineage, Bytes(9, std::byte{1}));
}

// What version 5 was: no profile of its own for certificates.
TEST_F(SqliteFile, OfVersionFiveComesOutWithoutProfiles) {
  fill(2);
  tamper(
      "ALTER TABLE device DROP COLUMN cert_profile; ALTER TABLE device DROP COLUMN taken_us; "
      "DROP TABLE withdrawn; PRAGMA user_version = 5");
  const auto store = open_sqlite(path_);
  ASSERT_TRUE(store.has_value()) << store.error().message;
  auto record = (*store)->get(test_uuid(1));
  ASSERT_TRUE(record.has_value()) << record.error().message;
  EXPECT_EQ(record->settings.cert_profile, 0);
  record->settings.cert_profile = 2;
  ASSERT_OK((*store)->set_settings(test_uuid(1), record->version, record->settings, {}));
  EXPECT_EQ((*store)->get(test_uuid(1))->settings.cert_profile, 2);
}

// What version 6 was: no snapshots.
TEST_F(SqliteFile, OfVersionSixComesOutWithoutSnapshots) {
  fill(2);
  tamper("ALTER TABLE device DROP COLUMN taken_us; DROP TABLE withdrawn; PRAGMA user_version = 6");
  const auto store = open_sqlite(path_);
  ASSERT_TRUE(store.has_value()) << store.error().message;
  auto record = (*store)->get(test_uuid(1));
  ASSERT_TRUE(record.has_value()) << record.error().message;
  EXPECT_EQ(record->taken_us, 0U);
  Record snapshot = test_record(3);
  snapshot.settings.name = record->settings.name + "@before";
  snapshot.settings.role = Role::snapshot;
  snapshot.taken_us = 1234567890123456;
  ASSERT_OK((*store)->create(snapshot));
  EXPECT_EQ((*store)->get(test_uuid(3))->taken_us, snapshot.taken_us);
}

// What version 7 was: nothing of devices that are gone.
TEST_F(SqliteFile, OfVersionSevenComesOutWithNothingWithdrawn) {
  fill(2);
  tamper("DROP TABLE withdrawn; PRAGMA user_version = 7");
  const auto store = open_sqlite(path_);
  ASSERT_TRUE(store.has_value()) << store.error().message;
  EXPECT_EQ(*(*store)->last_withdrawn(), 0U);
  EXPECT_TRUE((*store)->withdrawn()->empty());
}

TEST_F(SqliteFile, OfAnotherProgramIsLeftAlone) {
  tamper("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)");
  ASSERT_EQ(::chmod(path_.c_str(), 0600), 0);
  const std::string before = read_file(path_);
  EXPECT_FAILS(open(), corrupt);
  EXPECT_EQ(read_file(path_), before);
}

TEST_F(SqliteFile, ThatIsNoDatabaseIsCorrupt) {
  for (const std::string& content :
       {std::string(100000, 'x'), std::string("short"),
        std::string("SQLite format 3\0", 16) + std::string(4080, 'z')}) {
    write_file(path_, content);
    ASSERT_EQ(::chmod(path_.c_str(), 0600), 0);
    EXPECT_FAILS(open(), corrupt);
    EXPECT_EQ(read_file(path_), content);
  }
}

TEST_F(SqliteFile, WithoutItsTablesIsCorrupt) {
  fill(1);
  tamper("DROP TABLE tombstone");
  EXPECT_FAILS(open(), corrupt);
}

TEST_F(SqliteFile, CutShortIsCorrupt) {
  fill(30);
  const std::string whole = read_file(path_);
  ASSERT_GT(whole.size(), 200000U);
  write_file(path_, whole.substr(0, whole.size() / 2 / 4096 * 4096));
  ASSERT_EQ(::chmod(path_.c_str(), 0600), 0);
  const auto store = open_sqlite(path_);
  if (!store) {
    EXPECT_EQ(store.error().code, ErrorCode::corrupt);
    return;
  }
  EXPECT_FAILS((*store)->check(), corrupt);
}

// Values that a vtpmd never writes, one at a time.
TEST_F(SqliteFile, HostileRowsAreCorrupt) {
  fill(2);
  const std::string sound = read_file(path_);
  for (const char* sql :
       {"UPDATE device SET mode = 256", "UPDATE device SET kind = -1",
        "UPDATE device SET command_timeout_ms = 4294967296", "UPDATE device SET epoch = -1",
        "UPDATE device SET uuid = x'00' WHERE name = 'device-1'",
        "UPDATE device SET uuid = zeroblob(16) WHERE name = 'device-1'",
        "UPDATE device SET name = '../x' WHERE name = 'device-1'",
        "UPDATE device SET owner = cast(x'610062' AS TEXT)",
        "UPDATE device SET owner = printf('%2000d', 1)",
        "UPDATE device SET wrapped_key = zeroblob(257)", "UPDATE state SET generation = -7",
        "UPDATE state SET sealed = zeroblob(300000)", "UPDATE state SET sealed = zeroblob(3000000)",
        "INSERT INTO state VALUES (77, 1, 1, x'00')"}) {
    write_file(path_, sound);
    tamper((std::string("PRAGMA ignore_check_constraints = ON;") + sql).c_str());
    const auto store = open_sqlite(path_);
    ASSERT_TRUE(store.has_value()) << sql;
    const auto checked = (*store)->check();
    EXPECT_FALSE(checked.has_value()) << sql;
    (void)(*store)->get(test_uuid(1));
    (void)(*store)->find("device-1");
    // A bad row hides no good one.
    const auto entries = (*store)->list("", 10);
    ASSERT_TRUE(entries.has_value()) << sql;
    EXPECT_EQ(entries->size(), 2U) << sql;
  }
}

// Flipped bytes anywhere: an error or other bytes, never a crash or a hang, and the record of a
// healthy neighbour can still be committed if the damage lets SQLite reach it.
TEST_F(SqliteFile, SurvivesDamageAnywhere) {
  fill(20);
  const std::string sound = read_file(path_);
  std::mt19937 random(37);
  int found = 0;
  for (int i = 0; i < 60; i++) {
    std::string bad = sound;
    const unsigned flips = 1 + random() % 64;
    const std::size_t page = random() % (bad.size() / 4096) * 4096;
    // Mostly the head of a page, where its structure is.
    for (unsigned j = 0; j < flips; j++)
      bad[page + random() % (i % 3 == 0 ? 4096 : 128)] = static_cast<char>(random());
    write_file(path_, bad);
    const auto store = open_sqlite(path_);
    if (!store) {
      found++;
      continue;
    }
    if (!(*store)->check()) found++;
    std::vector<Store::CommitRequest> requests;
    const Version v{"m", 1, 1};
    for (unsigned n = 1; n <= 20; n++) requests.push_back({test_uuid(n), v, test_blob(v), {}, {}});
    EXPECT_EQ((*store)->commit_all(requests).size(), 20U);
    (void)(*store)->list("", 100);
    (void)(*store)->create(test_record(50));
    (void)(*store)->remove(test_uuid(3), v);
  }
  EXPECT_GT(found, 20);
}

TEST_F(SqliteFile, ARemovedRecordLeavesNoBytes) {
  fill(3);
  const auto store = open_sqlite(path_);
  ASSERT_TRUE(store.has_value());
  Record marked = test_record(9);
  marked.settings.owner = "owner-to-forget";
  marked.wrapped_key = to_bytes(as_bytes("wrapped-key-to-forget"));
  marked.state.bytes = to_bytes(as_bytes("state-to-forget" + std::string(20000, 'f')));
  ASSERT_OK((*store)->create(marked));
  const auto anywhere = [&] { return read_file(path_) + read_file(path_ + "-wal"); };
  EXPECT_THAT(anywhere(), HasSubstr("-to-forget"));
  ASSERT_OK((*store)->remove(marked.uuid, Version{}));
  const std::string rest = anywhere();
  EXPECT_EQ(rest.find("-to-forget"), std::string::npos);
  EXPECT_EQ(rest.find(std::string(100, 'f')), std::string::npos);
}

}  // namespace
}  // namespace vtpm::store
