// SPDX-License-Identifier: Apache-2.0
#include "device/bulletin.h"

#include <gtest/gtest.h>

#include <thread>

namespace vtpm::device {
namespace {

using std::chrono::milliseconds;

View view_of(std::uint8_t id) {
  View view;
  view.uuid.bytes.fill(std::byte{id});
  return view;
}
Refusal refusal_of(std::uint8_t id, std::uint64_t sequence) {
  Refusal refusal;
  refusal.uuid.bytes.fill(std::byte{id});
  refusal.sequence = sequence;
  return refusal;
}

TEST(Bulletin, EverySubscriberGetsEveryNoticeInOrder) {
  Bulletin bulletin;
  const auto one = bulletin.subscribe();
  const auto two = bulletin.subscribe();
  for (std::uint8_t i = 0; i < 10; i++) bulletin.post(Notice::Kind::created, view_of(i));
  for (const auto& who : {one, two})
    for (std::uint8_t i = 0; i < 10; i++) {
      const auto notice = who->next(milliseconds(0));
      ASSERT_TRUE(notice);
      EXPECT_EQ(notice->view.uuid, view_of(i).uuid);
      EXPECT_GT(notice->time_ns, 0);
    }
  EXPECT_FALSE(one->next(milliseconds(1)));
}

TEST(Bulletin, ASlowSubscriberLosesTheOldestAndBoundsTheMemory) {
  Bulletin bulletin;
  const auto slow = bulletin.subscribe();
  for (std::uint64_t i = 0; i < 5000; i++) bulletin.post_refusal(view_of(1), refusal_of(1, i));
  std::vector<std::uint64_t> seen;
  while (const auto notice = slow->next(milliseconds(0))) seen.push_back(notice->refusal->sequence);
  ASSERT_EQ(seen.size(), 1024U);
  EXPECT_EQ(seen.front(), 5000U - 1024U);
  EXPECT_EQ(seen.back(), 4999U);
}

TEST(Bulletin, CloseWakesThoseWhoWaitAfterWhatIsLeftIsRead) {
  Bulletin bulletin;
  const auto subscription = bulletin.subscribe();
  bulletin.post(Notice::Kind::deleted, view_of(1));
  std::thread closer([&] {
    std::this_thread::sleep_for(milliseconds(50));
    bulletin.close();
  });
  EXPECT_TRUE(subscription->next(milliseconds(10'000)));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(subscription->next(milliseconds(10'000)));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(5'000));
  EXPECT_TRUE(subscription->closed());
  closer.join();
  EXPECT_TRUE(bulletin.subscribe()->closed()) << "whoever comes late must not wait either";
}

TEST(Bulletin, ASubscriberThatLeftCostsNothing) {
  Bulletin bulletin;
  bulletin.subscribe().reset();
  bulletin.post(Notice::Kind::created, view_of(1));
  const auto stays = bulletin.subscribe();
  bulletin.post(Notice::Kind::created, view_of(2));
  EXPECT_EQ(stays->next(milliseconds(0))->view.uuid, view_of(2).uuid);
}

TEST(Bulletin, KeepsTheLastRefusalsOfEachDevice) {
  Bulletin bulletin;
  for (std::uint64_t i = 0; i < 400; i++) bulletin.post_refusal(view_of(1), refusal_of(1, i));
  for (std::uint64_t i = 0; i < 5; i++) bulletin.post_refusal(view_of(2), refusal_of(2, i));
  const auto one = bulletin.refusals(view_of(1).uuid, 0);
  ASSERT_EQ(one.size(), 256U) << "one device's flood must not grow without bound";
  EXPECT_EQ(one.front().sequence, 144U);
  EXPECT_EQ(one.back().sequence, 399U);
  EXPECT_EQ(bulletin.refusals(view_of(2).uuid, 0).size(), 5U) << "nor push out another's";
  EXPECT_EQ(bulletin.refusals(std::nullopt, 0).size(), 261U);
  const auto newest = bulletin.refusals(std::nullopt, 3);
  ASSERT_EQ(newest.size(), 3U);
  EXPECT_EQ(newest.back().uuid, view_of(2).uuid);
  EXPECT_EQ(newest.back().sequence, 4U);
  bulletin.forget(view_of(1).uuid);
  EXPECT_EQ(bulletin.refusals(std::nullopt, 0).size(), 5U);
}

}  // namespace
}  // namespace vtpm::device
