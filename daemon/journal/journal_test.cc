// SPDX-License-Identifier: Apache-2.0
#include "journal/journal.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>

#include "journal/layout.h"

namespace vtpm::journal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Header some_header(std::uint64_t incarnation = 3) {
  Header header;
  header.device = Uuid::random().value();
  header.boot_id.fill(std::byte{0xb0});
  header.power_id.fill(std::byte{0x70});
  header.incarnation = incarnation;
  return header;
}

// Content that tells whether it is whole: every part is filled by the sequence.
Checkpoint some_checkpoint(const Header& header, std::uint64_t sequence, std::size_t size = 9000) {
  Checkpoint c;
  c.boot_id = header.boot_id;
  c.incarnation = header.incarnation;
  c.permanent_version = 5;
  c.sequence = sequence;
  const auto fill = static_cast<std::byte>(sequence * 37 + 1);
  c.volatile_state.assign(size, fill);
  c.reply.assign(10 + sequence % 100, fill);
  return c;
}

bool same(const Checkpoint& a, const Checkpoint& b) { return encode(a) == encode(b); }

class JournalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/journal_test.XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    path_ = path;
  }
  void TearDown() override { std::filesystem::remove_all(path_); }

  Folder folder() { return Folder::open(path_, true).value(); }
  std::string file_of(const Uuid& device) { return path_ + "/" + device.to_string(); }
  void overwrite(const Uuid& device, std::size_t offset, ByteView bytes) {
    const UniqueFd fd(::open(file_of(device).c_str(), O_WRONLY));
    ASSERT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes.size()));
  }
  ErrorCode read_error(const Uuid& device) {
    const auto found = folder().read(device);
    EXPECT_FALSE(found);
    return found ? ErrorCode::internal : found.error().code;
  }

  std::string path_;
};

TEST_F(JournalTest, NothingIsThere) {
  EXPECT_EQ(folder().read(Uuid::random().value()).value(), std::nullopt);
  EXPECT_THAT(folder().list().value(), IsEmpty());
  EXPECT_TRUE(folder().remove(Uuid::random().value()));
}

TEST_F(JournalTest, GivesBackTheFirstCheckpoint) {
  const Header header = some_header();
  const Checkpoint first = some_checkpoint(header, 0);
  ASSERT_TRUE(folder().create(header, &first));
  const auto found = folder().read(header.device).value();
  ASSERT_TRUE(found && found->newest);
  EXPECT_TRUE(same(*found->newest, first));
  EXPECT_EQ(found->header.device, header.device);
  EXPECT_EQ(found->header.boot_id, header.boot_id);
  EXPECT_EQ(found->header.power_id, header.power_id);
  EXPECT_EQ(found->header.incarnation, header.incarnation);
}

TEST_F(JournalTest, GivesBackTheNewestOfMany) {
  const Header header = some_header();
  auto journal = Journal::map(folder().create(header, nullptr).value()).value();
  EXPECT_FALSE(folder().read(header.device).value()->newest);
  for (std::uint64_t sequence = 1; sequence < 10; sequence++) {
    const Checkpoint c = some_checkpoint(header, sequence, 9000 - 500 * sequence);
    ASSERT_TRUE(journal.commit(c));
    EXPECT_TRUE(same(*folder().read(header.device).value()->newest, c)) << sequence;
  }
}

TEST_F(JournalTest, TheLastCommitCountsNotTheGreatestSequence) {
  const Header header = some_header();
  auto journal = Journal::map(folder().create(header, nullptr).value()).value();
  ASSERT_TRUE(journal.commit(some_checkpoint(header, 9)));
  const Checkpoint last = some_checkpoint(header, 2);
  ASSERT_TRUE(journal.commit(last));
  EXPECT_TRUE(same(*folder().read(header.device).value()->newest, last));
}

TEST_F(JournalTest, ContinuesWhereAMappingLeftOff) {
  const Header header = some_header();
  const Checkpoint first = some_checkpoint(header, 1);
  UniqueFd file = folder().create(header, &first).value();
  UniqueFd again(::dup(file.get()));
  {
    auto journal = Journal::map(std::move(file)).value();
    ASSERT_TRUE(journal.commit(some_checkpoint(header, 2)));
  }
  auto journal = Journal::map(std::move(again)).value();
  const Checkpoint third = some_checkpoint(header, 3);
  ASSERT_TRUE(journal.commit(third));
  EXPECT_TRUE(same(*folder().read(header.device).value()->newest, third));
}

TEST_F(JournalTest, HoldsTheLargestCheckpoint) {
  const Header header = some_header();
  auto journal = Journal::map(folder().create(header, nullptr).value()).value();
  Checkpoint c = some_checkpoint(header, 1, kMaxVolatileState);
  c.permanent.assign(kMaxPermanentState, std::byte{1});
  c.reply.assign(kMaxReply, std::byte{2});
  ASSERT_TRUE(journal.commit(c));
  ASSERT_TRUE(journal.commit(c));
  EXPECT_TRUE(same(*folder().read(header.device).value()->newest, c));
}

TEST_F(JournalTest, ARefusedCommitChangesNothing) {
  const Header header = some_header();
  auto journal = Journal::map(folder().create(header, nullptr).value()).value();
  const Checkpoint good = some_checkpoint(header, 1);
  ASSERT_TRUE(journal.commit(good));
  const auto refused = [&](const Checkpoint& c) {
    const auto result = journal.commit(c);
    EXPECT_FALSE(result);
    EXPECT_TRUE(same(*folder().read(header.device).value()->newest, good));
    return result ? ErrorCode::internal : result.error().code;
  };
  EXPECT_EQ(refused(some_checkpoint(header, 2, kMaxVolatileState + 1)), ErrorCode::too_large);
  Checkpoint c = some_checkpoint(header, 2);
  c.permanent.resize(kMaxPermanentState + 1);
  EXPECT_EQ(refused(c), ErrorCode::too_large);
  c = some_checkpoint(header, 2);
  c.reply.resize(kMaxReply + 1);
  EXPECT_EQ(refused(c), ErrorCode::too_large);
  c = some_checkpoint(header, 2);
  c.boot_id[0] ^= std::byte{1};
  EXPECT_EQ(refused(c), ErrorCode::invalid_argument);
  c = some_checkpoint(header, 2);
  c.incarnation++;
  EXPECT_EQ(refused(c), ErrorCode::invalid_argument);
}

TEST_F(JournalTest, ACommitThatCouldNotCountIsRefused) {
  const Header header = some_header();
  const Checkpoint first = some_checkpoint(header, 1);
  auto journal = Journal::map(folder().create(header, &first).value()).value();
  ASSERT_TRUE(journal.commit(some_checkpoint(header, 2)));
  // A hostile worker's last number: the next one would be that of an empty slot.
  const std::uint64_t last = ~std::uint64_t{0};
  overwrite(header.device, slot_offset(1), std::as_bytes(std::span(&last, 1)));
  const UniqueFd file(::open(file_of(header.device).c_str(), O_RDWR));
  auto again = Journal::map(UniqueFd(::dup(file.get()))).value();
  const auto refused = again.commit(some_checkpoint(header, 3));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::full);
  EXPECT_TRUE(same(folder().read(header.device).value()->newest.value(), first));
}

TEST_F(JournalTest, ANewIncarnationIsANewFile) {
  Header header = some_header(1);
  auto old = Journal::map(folder().create(header, nullptr).value()).value();
  const Checkpoint carried = some_checkpoint(header, 7);
  ASSERT_TRUE(old.commit(carried));
  header.incarnation = 2;
  ASSERT_TRUE(folder().create(header, &carried));
  Header stale = header;
  stale.incarnation = 1;
  ASSERT_TRUE(old.commit(some_checkpoint(stale, 8)));  // a stopped worker that wakes
  const auto found = folder().read(header.device).value();
  EXPECT_EQ(found->header.incarnation, 2U);
  EXPECT_TRUE(same(*found->newest, carried));
}

TEST_F(JournalTest, ARefusedCreateLeavesTheOldJournal) {
  const Header header = some_header();
  const Checkpoint good = some_checkpoint(header, 1);
  ASSERT_TRUE(folder().create(header, &good));
  const Checkpoint huge = some_checkpoint(header, 2, kMaxVolatileState + 1);
  EXPECT_FALSE(folder().create(header, &huge));
  EXPECT_TRUE(same(*folder().read(header.device).value()->newest, good));
  EXPECT_THAT(folder().list().value(), ElementsAre(header.device));
}

TEST_F(JournalTest, RemovesAndLists) {
  const Header a = some_header();
  const Header b = some_header();
  ASSERT_TRUE(folder().create(a, nullptr));
  ASSERT_TRUE(folder().create(b, nullptr));
  EXPECT_EQ(folder().list().value().size(), 2U);
  ASSERT_TRUE(folder().remove(a.device));
  EXPECT_THAT(folder().list().value(), ElementsAre(b.device));
}

TEST_F(JournalTest, IgnoresHostileNames) {
  const std::string uuid = Uuid::random().value().to_string();
  std::string upper = uuid;
  for (char& c : upper) c = static_cast<char>(std::toupper(c));
  upper[0] = 'A';
  for (const std::string& name : std::vector<std::string>{"x", "new-" + uuid, uuid + ".bak", upper,
                                                          std::string(255, 'a'), "-", "a\nb"})
    ASSERT_TRUE(UniqueFd(::open((path_ + "/" + name).c_str(), O_CREAT | O_WRONLY, 0600)));
  ASSERT_EQ(::mkdir((path_ + "/" + Uuid::random().value().to_string()).c_str(), 0700), 0);
  ASSERT_EQ(::symlink("/etc/passwd", (path_ + "/" + Uuid::random().value().to_string()).c_str()),
            0);
  EXPECT_THAT(folder().list().value(), IsEmpty());
}

TEST_F(JournalTest, ReadsNoLinkFifoOrFolder) {
  const Header real = some_header();
  ASSERT_TRUE(folder().create(real, nullptr));
  const Uuid link = Uuid::random().value();
  const Uuid fifo = Uuid::random().value();
  const Uuid dir = Uuid::random().value();
  ASSERT_EQ(::symlink(file_of(real.device).c_str(), file_of(link).c_str()), 0);
  ASSERT_EQ(::mkfifo(file_of(fifo).c_str(), 0600), 0);
  ASSERT_EQ(::mkdir(file_of(dir).c_str(), 0700), 0);
  for (const Uuid& device : {link, fifo, dir}) EXPECT_FALSE(folder().read(device));
  // And an old temporary file does not stop create(), nor is a link in its place followed.
  const Header header = some_header();
  ASSERT_EQ(::symlink("/nonexistent/x", (path_ + "/new-" + header.device.to_string()).c_str()), 0);
  EXPECT_TRUE(folder().create(header, nullptr));
}

TEST_F(JournalTest, RefusesAnotherDevicesJournal) {
  const Header header = some_header();
  ASSERT_TRUE(folder().create(header, nullptr));
  const Uuid other = Uuid::random().value();
  ASSERT_EQ(::rename(file_of(header.device).c_str(), file_of(other).c_str()), 0);
  EXPECT_EQ(read_error(other), ErrorCode::corrupt);
}

TEST_F(JournalTest, RefusesASlotOfAnotherBootOrALaterWorker) {
  for (const bool boot : {true, false}) {
    const Header header = some_header();
    Checkpoint foreign = some_checkpoint(header, 4);
    if (boot)
      foreign.boot_id[3] ^= std::byte{1};
    else
      foreign.incarnation++;
    ASSERT_TRUE(folder().create(header, nullptr));
    const SecretBytes encoded = encode(foreign);
    Bytes slot(kSlotHeader);
    const std::uint64_t number = 1;
    std::memcpy(slot.data(), &number, sizeof number);
    store_be32(slot.data() + 8, static_cast<std::uint32_t>(encoded.size()));
    slot.insert(slot.end(), encoded.begin(), encoded.end());
    overwrite(header.device, slot_offset(1), slot);
    EXPECT_EQ(read_error(header.device), ErrorCode::corrupt);
  }
}

TEST_F(JournalTest, RefusesDamage) {
  const Header header = some_header();
  const Checkpoint good = some_checkpoint(header, 1);
  const auto renew = [&] { ASSERT_TRUE(folder().create(header, &good)); };
  const Bytes ones(64, std::byte{0xff});

  for (const std::size_t offset : {std::size_t{0}, std::size_t{72}, std::size_t{2000}}) {
    renew();  // magic, slot size, padding of the header
    overwrite(header.device, offset, ones);
    EXPECT_FALSE(folder().read(header.device)) << offset;
  }
  renew();  // an impossible length
  overwrite(header.device, slot_offset(1) + 8, ByteView(ones).first(4));
  EXPECT_EQ(read_error(header.device), ErrorCode::corrupt);
  renew();  // a length that cuts the checkpoint
  Bytes shorter(4);
  store_be32(shorter.data(), 100);
  overwrite(header.device, slot_offset(1) + 8, shorter);
  EXPECT_EQ(read_error(header.device), ErrorCode::corrupt);
  renew();  // a commit number that belongs to the other slot
  const std::uint64_t odd = 3;
  overwrite(header.device, slot_offset(0), std::as_bytes(std::span(&odd, 1)));
  EXPECT_EQ(read_error(header.device), ErrorCode::corrupt);
  renew();  // a newer slot of garbage is not answered by the older one
  const std::uint64_t two = 2;
  overwrite(header.device, slot_offset(2), std::as_bytes(std::span(&two, 1)));
  EXPECT_EQ(read_error(header.device), ErrorCode::corrupt);
}

TEST_F(JournalTest, RefusesOtherSizesAndRandomFiles) {
  const Header header = some_header();
  std::mt19937 random(1);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kPageSize - 1, kPageSize,
                                 kPageSize + 8, kFileSize - 1, kFileSize + 1, kFileSize}) {
    Bytes garbage(size);
    for (std::byte& b : garbage) b = static_cast<std::byte>(random());
    (void)::unlink(file_of(header.device).c_str());
    const UniqueFd fd(::open(file_of(header.device).c_str(), O_CREAT | O_RDWR, 0600));
    ASSERT_EQ(::write(fd.get(), garbage.data(), size), static_cast<ssize_t>(size));
    EXPECT_EQ(read_error(header.device), ErrorCode::corrupt) << size;
    EXPECT_FALSE(Journal::map(UniqueFd(::dup(fd.get())))) << size;
  }
}

TEST_F(JournalTest, RefusesAnUnsafeFolder) {
  ASSERT_EQ(::chmod(path_.c_str(), 0755), 0);
  EXPECT_FALSE(Folder::open(path_, true));
  ASSERT_EQ(::chmod(path_.c_str(), 0700), 0);
  EXPECT_TRUE(Folder::open(path_, true));
  EXPECT_FALSE(Folder::open(path_ + "/none", true));
  const std::string link = path_ + "/link";
  ASSERT_EQ(::symlink(path_.c_str(), link.c_str()), 0);
  EXPECT_FALSE(Folder::open(link, true));
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown(path_.c_str(), 1, 1), 0);
    EXPECT_FALSE(Folder::open(path_, true));
    ASSERT_EQ(::chown(path_.c_str(), 0, 0), 0);
  }
}

TEST_F(JournalTest, WantsRamfs) {
  const auto refused = Folder::open(path_, false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::failed_precondition);
  const std::string mount_point = path_ + "/ram";
  if (auto mounted = Folder::mount_ramfs(mount_point); !mounted)
    GTEST_SKIP() << mounted.error().message;
  EXPECT_TRUE(Folder::mount_ramfs(mount_point));  // once is enough
  auto ram = Folder::open(mount_point, false);
  ASSERT_TRUE(ram) << ram.error().message;
  const Header header = some_header();
  auto journal = Journal::map(ram->create(header, nullptr).value()).value();
  const Checkpoint c = some_checkpoint(header, 1);
  EXPECT_TRUE(journal.commit(c));
  EXPECT_TRUE(same(*ram->read(header.device).value()->newest, c));
  EXPECT_EQ(::umount2(mount_point.c_str(), MNT_DETACH), 0);
}

Redo some_redo(std::uint64_t sequence, std::size_t size = 65) {
  return {static_cast<std::uint8_t>(sequence % 5),
          SecretBytes(size, static_cast<std::byte>(sequence)),
          SecretBytes(19, static_cast<std::byte>(sequence * 3))};
}
bool same(const Redo& a, const Redo& b) {
  return a.locality == b.locality && a.command == b.command && a.reply == b.reply;
}

TEST_F(JournalTest, AddsCommandsToACheckpointUntilThereIsNoRoom) {
  const Header header = some_header();
  const Checkpoint first = some_checkpoint(header, 1);
  auto journal = Journal::map(folder().create(header, &first).value()).value();
  EXPECT_FALSE(journal.append(2, some_redo(2))) << "nothing was committed through this mapping";
  std::uint64_t sequence = 10;
  for (int round = 0; round < 4; round++) {
    const Checkpoint base = some_checkpoint(header, sequence);
    ASSERT_TRUE(journal.commit(base));
    EXPECT_TRUE(same(*folder().read(header.device).value()->newest, base));
    std::size_t added = 0;
    for (++sequence; journal.append(sequence, some_redo(sequence, 50 + sequence % 20));) {
      const Checkpoint found = *folder().read(header.device).value()->newest;
      ASSERT_EQ(found.redo.size(), ++added);
      EXPECT_EQ(found.sequence, sequence);
      EXPECT_EQ(found.reply, some_redo(sequence).reply);
      EXPECT_EQ(found.volatile_state, base.volatile_state);
      for (std::size_t i = 0; i < added; i++) {
        const std::uint64_t each = sequence - added + 1 + i;
        EXPECT_TRUE(same(found.redo[i], some_redo(each, 50 + each % 20)));
      }
      EXPECT_TRUE(decode_checkpoint(encode(found)));
      sequence++;
    }
    EXPECT_GT(added, 20U);
    EXPECT_EQ(folder().read(header.device).value()->newest->sequence, sequence - 1);
  }
}

TEST_F(JournalTest, ACommandThatIsTooLongNeedsACommit) {
  const Header header = some_header();
  auto journal = Journal::map(folder().create(header, nullptr).value()).value();
  ASSERT_TRUE(journal.commit(some_checkpoint(header, 1)));
  EXPECT_FALSE(journal.append(2, some_redo(2, kRedoSize)));
  EXPECT_TRUE(journal.append(2, some_redo(2, kRedoSize - 100)));
  EXPECT_FALSE(journal.append(3, some_redo(3)));
}

TEST_F(JournalTest, KeepsOfACompactedJournalTheNewestCheckpoint) {
  const Header header = some_header();
  auto journal = Journal::map(folder().create(header, nullptr).value()).value();
  for (std::uint64_t i = 1; i <= 5; i++) ASSERT_TRUE(journal.commit(some_checkpoint(header, i)));
  ASSERT_TRUE(journal.append(6, some_redo(6)));
  const Folder::Found before = folder().read(header.device).value().value();
  const auto pages = [&] {
    struct stat st{};
    EXPECT_EQ(::stat(file_of(header.device).c_str(), &st), 0);
    return static_cast<std::size_t>(st.st_blocks) * 512 / kPageSize;
  };
  ASSERT_GT(pages(), 1U + 3U);
  for (int i = 0; i < 2; i++) {
    ASSERT_TRUE(folder().compact(header.device));
    EXPECT_EQ(pages(), 1U + 3U) << "a header, and a checkpoint of 9000 bytes";
    const Folder::Found after = folder().read(header.device).value().value();
    EXPECT_EQ(encode_header(after.header), encode_header(before.header));
    EXPECT_TRUE(same(*after.newest, *before.newest));
    EXPECT_EQ(after.newest->sequence, 6U);
    EXPECT_EQ(after.newest->redo.size(), 1U);
  }
  ASSERT_TRUE(journal.commit(some_checkpoint(header, 7)));  // by who should be dead
  EXPECT_TRUE(same(*folder().read(header.device).value()->newest, *before.newest));
}

TEST_F(JournalTest, CompactsNothingThatIsUnsound) {
  EXPECT_TRUE(folder().compact(Uuid::random().value())) << "there is no journal";
  const Header header = some_header();
  const Checkpoint checkpoint = some_checkpoint(header, 1);
  ASSERT_TRUE(folder().create(header, &checkpoint));
  overwrite(header.device, slot_offset(1) + kSlotHeader, Bytes(9100, std::byte{0xff}));
  const auto compacted = folder().compact(header.device);
  ASSERT_FALSE(compacted);
  EXPECT_EQ(compacted.error().code, ErrorCode::corrupt);
  EXPECT_EQ(read_error(header.device), ErrorCode::corrupt) << "whoever reads it is told";
}

// A client's bytes lie where an entry's word may be looked for later.
TEST_F(JournalTest, WhatLiesBehindTheListIsNoCommand) {
  const Header header = some_header();
  auto journal = Journal::map(folder().create(header, nullptr).value()).value();
  ASSERT_TRUE(journal.commit(some_checkpoint(header, 1)));
  const std::uint64_t next_number = 2;
  Redo hostile = some_redo(2, 1600);
  for (std::size_t at = 3; at + 8 <= hostile.command.size(); at += 8)
    std::memcpy(hostile.command.data() + at, &next_number, sizeof next_number);
  ASSERT_TRUE(journal.append(2, hostile));
  ASSERT_TRUE(journal.commit(some_checkpoint(header, 3)));
  for (std::uint64_t sequence = 4; journal.append(sequence, some_redo(sequence)); sequence++)
    EXPECT_EQ(folder().read(header.device).value()->newest->sequence, sequence);
}

TEST_F(JournalTest, RefusesADamagedListOfCommands) {
  const Header header = some_header();
  const std::size_t second = kRedoOffset + behind(0, 8 + encoded_size(some_redo(2)));
  const auto damaged = [&](std::size_t offset, ByteView bytes) {
    auto journal = Journal::map(folder().create(header, nullptr).value()).value();
    EXPECT_TRUE(journal.commit(some_checkpoint(header, 1)));
    for (std::uint64_t sequence = 2; sequence < 5; sequence++)
      EXPECT_TRUE(journal.append(sequence, some_redo(sequence)));
    EXPECT_EQ(folder().read(header.device).value()->newest->redo.size(), 3U);
    overwrite(header.device, offset, bytes);
    return read_error(header.device);
  };
  const Bytes zeros(8);
  const Bytes ones(8, std::byte{0xff});
  EXPECT_EQ(damaged(second + 8, ByteView(ones).first(4)), ErrorCode::corrupt);  // length
  EXPECT_EQ(damaged(second + 8, ByteView(zeros).first(4)), ErrorCode::corrupt);
  EXPECT_EQ(damaged(second + 12, zeros), ErrorCode::corrupt);  // the sequence goes back
  EXPECT_EQ(damaged(second + 21, ByteView(ones).first(4)), ErrorCode::corrupt);  // size of command
}

// An upgrade finds journals of workers that had no room for commands.
TEST_F(JournalTest, ReadsTheFormatBefore) {
  const Header header = some_header();
  const Checkpoint first = some_checkpoint(header, 6);
  ASSERT_TRUE(folder().create(header, &first));
  ASSERT_EQ(::truncate(file_of(header.device).c_str(), kRedoOffset), 0);
  EXPECT_EQ(read_error(header.device), ErrorCode::unsupported) << "cut off, but of this version";
  const Bytes version = {std::byte{0}, std::byte{0}, std::byte{0}, std::byte{1}};
  overwrite(header.device, 4, version);
  EXPECT_TRUE(same(*folder().read(header.device).value()->newest, first));
}

// A writer that is killed anywhere leaves a whole checkpoint: the last one it had reported done,
// or the one after it.
TEST_F(JournalTest, SurvivesAKillAtAnyMoment) {
  std::mt19937 random(7);
  int commits_seen = 0;
  for (int round = 0; round < 200; round++) {
    const Header header = some_header();
    UniqueFd file = folder().create(header, nullptr).value();
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    UniqueFd in(ends[0]);
    UniqueFd out(ends[1]);
    const pid_t child = ::fork();
    if (child == 0) {
      auto journal = Journal::map(std::move(file));
      if (!journal) ::_exit(1);
      for (std::uint64_t sequence = 1;; sequence++) {
        if ((sequence % 4 == 1 || !journal->append(sequence, some_redo(sequence))) &&
            !journal->commit(some_checkpoint(header, sequence, 20000 + sequence % 7)))
          ::_exit(2);
        if (::write(out.get(), &sequence, sizeof sequence) != sizeof sequence) ::_exit(3);
      }
    }
    out.reset();
    std::uint64_t acknowledged = 0;
    const unsigned wanted = random() % 20;
    std::uint64_t sequence = 0;
    while (acknowledged < wanted && ::read(in.get(), &sequence, sizeof sequence) == sizeof sequence)
      acknowledged = sequence;
    const timespec pause{0, static_cast<long>(random() % 100000)};
    ::nanosleep(&pause, nullptr);
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    while (::read(in.get(), &sequence, sizeof sequence) == sizeof sequence) acknowledged = sequence;

    const auto found = folder().read(header.device);
    ASSERT_TRUE(found) << found.error().message;
    const auto& newest = found->value().newest;
    if (!newest) {
      EXPECT_EQ(acknowledged, 0U);
    } else {
      commits_seen++;
      EXPECT_GE(newest->sequence, acknowledged);
      EXPECT_LE(newest->sequence, acknowledged + 1);
      const std::uint64_t base = newest->sequence - newest->redo.size();
      EXPECT_EQ(base % 4, 1U);
      for (std::size_t i = 0; i < newest->redo.size(); i++)
        EXPECT_TRUE(same(newest->redo[i], some_redo(base + 1 + i)));
      EXPECT_EQ(newest->volatile_state,
                some_checkpoint(header, base, 20000 + base % 7).volatile_state);
    }
    ASSERT_TRUE(folder().remove(header.device));
  }
  EXPECT_GT(commits_seen, 100);
}

}  // namespace
}  // namespace vtpm::journal
