// SPDX-License-Identifier: Apache-2.0
// What is left after a kill, a power loss, a full disk and a broken one.
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>
#include <thread>

#include "store/fault_vfs.h"
#include "store/store_contract.h"

namespace vtpm::store {
namespace {

using ::testing::HasSubstr;

constexpr const char* kManager = "m";

// A store with one device that this manager holds.
struct OneDevice {
  explicit OneDevice(const std::string& path) {
    auto opened = open_sqlite(path);
    if (!opened) {
      ADD_FAILURE() << opened.error().message;
      return;
    }
    store = *std::move(opened);
    if (!store->get(id) && !store->create(test_record(1))) ADD_FAILURE() << "cannot create";
    const auto acquired = store->acquire(id, store->get(id)->version, kManager, {});
    if (acquired)
      version = *acquired;
    else
      ADD_FAILURE() << acquired.error().message;
  }
  Result<Version> commit(std::size_t size) {
    auto result = store->commit(id, version, test_blob(version, size), {}, {});
    if (result) version = *result;
    return result;
  }
  const Uuid id = test_uuid(1);
  std::unique_ptr<Store> store;
  Version version;
};

// The record is whole and at `version`: the state is the one that was sealed for it.
void expect_state_of(const Record& record, std::size_t size) {
  Version before = record.version;
  ASSERT_GT(before.generation, 0U);
  before.generation--;
  EXPECT_EQ(record.state, test_blob(before, size));
}

TEST(Durability, AKilledWriterLosesNothingItWasToldIsSafe) {
  TemporaryFolder folder;
  const std::string path = folder / "store.db";
  std::mt19937 random(7);
  std::uint64_t acknowledged = 0;
  {
    const OneDevice sound(path);
  }
  for (int round = 0; round < 12; round++) {
    int pipe_ends[2];
    ASSERT_EQ(::pipe(pipe_ends), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      OneDevice writer(path);
      while (writer.commit(60000)) {
        const std::uint64_t done = writer.version.generation;
        if (::write(pipe_ends[1], &done, sizeof done) != sizeof done) break;
      }
      ::_exit(1);
    }
    ::close(pipe_ends[1]);
    std::uint64_t done = 0;
    ASSERT_EQ(::read(pipe_ends[0], &done, sizeof done), ssize_t{sizeof done});  // it runs
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 60000));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status));
    do {
      EXPECT_GT(done, acknowledged);
      acknowledged = done;
    } while (::read(pipe_ends[0], &done, sizeof done) == ssize_t{sizeof done});
    ::close(pipe_ends[0]);

    const auto store = open_sqlite(path);
    ASSERT_TRUE(store.has_value()) << store.error().message;
    ASSERT_OK((*store)->check());
    const Record record = *(*store)->get(test_uuid(1));
    // One more may be there: done, but killed before it was told.
    EXPECT_GE(record.version.generation, acknowledged);
    EXPECT_LE(record.version.generation, acknowledged + 1);
    expect_state_of(record, 60000);
    acknowledged = record.version.generation;
  }
}

// Cuts the power just before a random write, sync or truncation of a random commit, in every way
// that unsynced data can be lost, and opens what is left.
TEST(Durability, APowerLossKeepsEveryAcknowledgedCommit) {
  TemporaryFolder folder;
  FaultVfs vfs(11);
  std::mt19937 random(13);
  OneDevice device(folder / "store.db");
  int cuts = 0;
  int lost_in_flight = 0;
  for (int i = 0; i < 200; i++) {
    const std::size_t size = i % 10 == 0 ? 250000 : 16 + random() % 30000;
    const Version before = device.version;
    const SealedBlob old_state = device.store->get(device.id)->state;
    FaultVfs::Files left;
    vfs.at_event(static_cast<int>(1 + random() % (size / 1024 + 40)),
                 [&] { left = vfs.power_loss(); });
    const auto committed = device.commit(size);
    ASSERT_TRUE(committed.has_value()) << committed.error().message;
    if (left.empty()) left = vfs.power_loss();  // after the commit: it must be there
    vfs.at_event(0, nullptr);
    cuts++;

    const FaultVfs::Aside aside(vfs);
    TemporaryFolder after;
    for (const auto& [path, content] : left) {
      const std::string copy = after / path.substr(path.find_last_of('/') + 1);
      write_file(copy, content);
      ASSERT_EQ(::chmod(copy.c_str(), 0600), 0);
    }
    const auto store = open_sqlite(after / "store.db");
    ASSERT_TRUE(store.has_value()) << i << ": " << store.error().message;
    ASSERT_OK((*store)->check());
    const auto record = (*store)->get(device.id);
    ASSERT_TRUE(record.has_value()) << i << ": " << record.error().message;
    if (record->version == before) {
      lost_in_flight++;
      EXPECT_EQ(record->state, old_state) << i;
    } else {
      EXPECT_EQ(record->version, device.version) << i;
      EXPECT_EQ(record->state, test_blob(before, size)) << i;
    }
  }
  EXPECT_GT(lost_in_flight, 20);  // the cuts did fall into commits
  EXPECT_LT(lost_in_flight, cuts);
}

TEST(Durability, AfterACommitNothingWaitsForASync) {
  TemporaryFolder folder;
  FaultVfs vfs(17);
  OneDevice device(folder / "store.db");
  for (int i = 0; i < 50; i++) {
    ASSERT_OK(device.commit(5000));
    const FaultVfs::Aside aside(vfs);
    TemporaryFolder after;
    for (const auto& [path, content] : vfs.power_loss()) {
      const std::string copy = after / path.substr(path.find_last_of('/') + 1);
      write_file(copy, content);
      ASSERT_EQ(::chmod(copy.c_str(), 0600), 0);
    }
    const auto store = open_sqlite(after / "store.db");
    ASSERT_TRUE(store.has_value()) << store.error().message;
    EXPECT_EQ((*store)->get(device.id)->version, device.version);
  }
}

TEST(Faults, AFullDiskIsFullAndHarmless) {
  TemporaryFolder folder;
  FaultVfs vfs(19);
  OneDevice device(folder / "store.db");
  ASSERT_OK(device.commit(20000));
  for (int nth = 1; nth <= 8; nth++) {
    vfs.fail_writes(nth, SQLITE_FULL);
    EXPECT_FAILS(device.commit(20000), full);
    EXPECT_FAILS(device.store->create(test_record(2)), full);
    vfs.fail_writes(0, 0);
    EXPECT_EQ(device.store->get(device.id)->version, device.version);
    ASSERT_OK(device.commit(20000));  // works again, at the same version
  }
  ASSERT_OK(device.store->check());
}

TEST(Faults, AFailedSyncLeavesTheOutcomeOpen) {
  TemporaryFolder folder;
  FaultVfs vfs(23);
  OneDevice device(folder / "store.db");
  ASSERT_OK(device.commit(20000));
  const Version before = device.version;
  vfs.fail_syncs(1, SQLITE_IOERR_FSYNC);
  const auto result = device.commit(20000);
  EXPECT_FAILS(result, unknown_outcome);
  EXPECT_FALSE(result.error().hint.empty());
  EXPECT_FAILS(device.store->set_powered(device.id, before, true, {}), unknown_outcome);
  vfs.fail_syncs(0, 0);
  // What the contract tells the caller to do: look, and if nothing changed try the same bytes.
  const Record now = *device.store->get(device.id);
  ASSERT_EQ(now.version, before);
  ASSERT_OK(device.commit(20000));
  expect_state_of(*device.store->get(device.id), 20000);
}

TEST(Faults, ABrokenDiskIsUnavailableOrUnknown) {
  TemporaryFolder folder;
  FaultVfs vfs(29);
  OneDevice device(folder / "store.db");
  vfs.fail_writes(1, SQLITE_IOERR_WRITE);
  EXPECT_FAILS(device.commit(20000), unknown_outcome);
  vfs.fail_writes(0, 0);
  EXPECT_EQ(device.store->get(device.id)->version, device.version);
  ASSERT_OK(device.commit(20000));
}

TEST(Faults, ABatchThatFailsGivesEachRequestItsReason) {
  TemporaryFolder folder;
  FaultVfs vfs(31);
  OneDevice device(folder / "store.db");
  ASSERT_OK(device.store->create(test_record(2)));
  const Version other = *device.store->acquire(test_uuid(2), Version{}, kManager, {});
  Version stale = other;
  stale.generation = 5;
  const std::vector<Store::CommitRequest> requests{
      {device.id, device.version, test_blob(device.version), {}, {}},
      {test_uuid(2), stale, test_blob(stale), {}, {}},
      {test_uuid(2), other, test_blob(other), {}, {}},
  };
  vfs.fail_syncs(1, SQLITE_IOERR_FSYNC);
  auto results = device.store->commit_all(requests);
  ASSERT_EQ(results.size(), 3U);
  EXPECT_FAILS(results[0], unknown_outcome);
  EXPECT_FAILS(results[1], conflict);
  EXPECT_FAILS(results[2], unknown_outcome);
  vfs.fail_syncs(0, 0);
  vfs.fail_writes(1, SQLITE_FULL);
  results = device.store->commit_all(requests);
  EXPECT_FAILS(results[0], full);
  EXPECT_FAILS(results[1], conflict);
  EXPECT_FAILS(results[2], full);
  vfs.fail_writes(0, 0);
  results = device.store->commit_all(requests);
  EXPECT_TRUE(results[0].has_value());
  EXPECT_FAILS(results[1], conflict);
  EXPECT_TRUE(results[2].has_value());
}

// Commits until there is no room, then checks that the last good one is what is there.
void fill_up(OneDevice& device) {
  Result<Version> last = device.version;
  for (unsigned n = 100; n < 2000 && last; n++) {
    Record more = test_record(n);
    more.state = test_blob(Version{}, 100000);
    if (const auto made = device.store->create(more); !made) {
      EXPECT_EQ(made.error().code, ErrorCode::full) << made.error().message;
      EXPECT_THAT(made.error().hint, HasSubstr("room"));
    }
    last = device.commit(100000);
  }
  ASSERT_FALSE(last.has_value());
  EXPECT_EQ(last.error().code, ErrorCode::full) << last.error().message;
  const auto record = device.store->get(device.id);
  ASSERT_TRUE(record.has_value()) << record.error().message;
  EXPECT_EQ(record->version, device.version);
  expect_state_of(*record, 100000);
}

TEST(Full, ByTheLimitOfAFilesSize) {
  TemporaryFolder folder;
  const auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
  struct rlimit old_limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  const struct rlimit limit{2 * 1024 * 1024, old_limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  {
    OneDevice device(folder / "store.db");
    fill_up(device);
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old_limit), 0);
  ::signal(SIGXFSZ, old_handler);
  OneDevice again(folder / "store.db");
  ASSERT_OK(again.commit(100000));
  ASSERT_OK(again.store->check());
}

TEST(Full, ByTheFileSystem) {
  TemporaryFolder folder;
  const std::string mount_point = folder / "small";
  std::filesystem::create_directory(mount_point);
  if (::mount("tmpfs", mount_point.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "size=3m,mode=0700") !=
      0)
    GTEST_SKIP() << "may not mount";
  {
    OneDevice device(mount_point + "/store.db");
    fill_up(device);
    ASSERT_OK(device.store->check());
  }
  EXPECT_EQ(::umount2(mount_point.c_str(), MNT_DETACH), 0);
}

}  // namespace
}  // namespace vtpm::store
