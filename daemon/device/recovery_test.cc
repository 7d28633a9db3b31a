// SPDX-License-Identifier: Apache-2.0
#include "device/recovery.h"

#include <gtest/gtest.h>

namespace vtpm::device {
namespace {

constexpr BootId kThisBoot{std::byte{1}};
constexpr BootId kEarlierBoot{std::byte{2}};

Checkpoint checkpoint(std::uint64_t incarnation, std::uint64_t sequence, std::uint64_t version,
                      std::string_view permanent, std::string_view volatile_state) {
  Checkpoint c;
  c.boot_id = kThisBoot;
  c.incarnation = incarnation;
  c.sequence = sequence;
  c.permanent_version = version;
  c.permanent = to_secret(as_bytes(permanent));
  c.volatile_state = to_secret(as_bytes(volatile_state));
  return c;
}

journal::Folder::Found found(Checkpoint c) {
  journal::Folder::Found f;
  f.header.boot_id = c.boot_id;
  f.newest = std::move(c);
  return f;
}

RecoveryInput input(std::optional<Checkpoint> stored, std::optional<Checkpoint> journal) {
  RecoveryInput in;
  in.boot_id = kThisBoot;
  in.store_version = stored ? stored->permanent_version : 0;
  in.stored = std::move(stored);
  if (journal) in.journal = found(*std::move(journal));
  return in;
}

TEST(Recovery, JournalOfLaterCommandWinsAndTakesPermanentFromStore) {
  auto r =
      newest_checkpoint(input(checkpoint(3, 10, 5, "P5", "old"), checkpoint(3, 12, 5, "", "new")));
  ASSERT_TRUE(r);
  EXPECT_EQ(r->sequence, 12U);
  EXPECT_EQ(as_text(r->volatile_state), "new");
  EXPECT_EQ(as_text(r->permanent), "P5");
}

TEST(Recovery, StoreWinsWhenItsCommitCameAfterTheJournal) {
  auto r =
      newest_checkpoint(input(checkpoint(3, 12, 6, "P6", "v12"), checkpoint(3, 11, 5, "", "v11")));
  ASSERT_TRUE(r);
  EXPECT_EQ(r->sequence, 12U);
  EXPECT_EQ(as_text(r->permanent), "P6");
}

TEST(Recovery, LaterIncarnationWinsOverLargerSequence) {
  // After a power cycle sequences of the store are of an earlier life.
  auto r = newest_checkpoint(input(checkpoint(3, 90, 5, "P5", "v"), checkpoint(4, 0, 5, "", "w")));
  ASSERT_TRUE(r);
  EXPECT_EQ(r->incarnation, 4U);
}

TEST(Recovery, PowerCycledDeviceWithoutNewStateIsCold) {
  auto r = newest_checkpoint(input(checkpoint(3, 90, 5, "P5", "v"), checkpoint(4, 0, 5, "", "")));
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, ErrorCode::not_found);
}

TEST(Recovery, TieGoesToTheJournal) {
  auto r = newest_checkpoint(input(checkpoint(3, 7, 5, "P5", "s"), checkpoint(3, 7, 5, "", "j")));
  ASSERT_TRUE(r);
  EXPECT_EQ(as_text(r->volatile_state), "j");
}

TEST(Recovery, JournalOnNewerPermanentStateIsCorrupt) {
  auto r = newest_checkpoint(input(checkpoint(3, 7, 5, "P5", "s"), checkpoint(3, 8, 6, "", "j")));
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, ErrorCode::corrupt);
}

TEST(Recovery, LaterJournalOnOlderPermanentStateIsCorrupt) {
  auto r = newest_checkpoint(input(checkpoint(3, 7, 5, "P5", "s"), checkpoint(3, 8, 4, "", "j")));
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, ErrorCode::corrupt);
}

TEST(Recovery, StoredStateOfAnotherVersionIsCorrupt) {
  auto in = input(checkpoint(3, 7, 5, "P5", "s"), std::nullopt);
  in.store_version = 6;
  auto r = newest_checkpoint(std::move(in));
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, ErrorCode::corrupt);
}

TEST(Recovery, WithoutItsJournalAWarmStoredStateIsNotTrusted) {
  auto r = newest_checkpoint(input(checkpoint(3, 7, 5, "P5", "s"), std::nullopt));
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, ErrorCode::not_found);

  auto in = input(checkpoint(3, 7, 5, "P5", "s"), checkpoint(3, 8, 5, "", "j"));
  in.journal->newest.reset();  // a worker that overwrote both of its slots
  auto emptied = newest_checkpoint(std::move(in));
  ASSERT_FALSE(emptied);
  EXPECT_EQ(emptied.error().code, ErrorCode::not_found);
}

TEST(Recovery, AnotherBootDropsTheVolatilePart) {
  auto stored = checkpoint(3, 7, 5, "P5", "s");
  auto journal = checkpoint(3, 8, 5, "", "j");
  stored.boot_id = journal.boot_id = kEarlierBoot;
  auto r = newest_checkpoint(input(stored, journal));
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, ErrorCode::not_found);
  const Checkpoint cold = cold_checkpoint(stored, 5);
  EXPECT_EQ(as_text(cold.permanent), "P5");
  EXPECT_TRUE(cold.volatile_state.empty());
  EXPECT_EQ(cold.sequence, 0U);
}

TEST(Recovery, ReadOnlyDeviceLivesInItsJournalAlone) {
  auto in = input(std::nullopt, checkpoint(2, 4, 0, "blank", "v"));
  in.read_only = true;
  auto r = newest_checkpoint(std::move(in));
  ASSERT_TRUE(r);
  EXPECT_EQ(as_text(r->permanent), "blank");

  auto lost = input(std::nullopt, std::nullopt);
  lost.read_only = true;
  auto gone = newest_checkpoint(std::move(lost));
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace vtpm::device
