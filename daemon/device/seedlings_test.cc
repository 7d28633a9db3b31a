// SPDX-License-Identifier: Apache-2.0
// What is kept ahead of need, and when it is made. Here nobody makes it but the test; the real one:
// daemon/worker/manufacture_test.cc, selftests/native/identity-test.
#include "device/seedlings.h"

#include <gtest/gtest.h>

#include <future>
#include <set>
#include <thread>
#include <type_traits>

namespace vtpm::device {
namespace {

using privsep::IdentityProfile;
using std::chrono::milliseconds;

class SeedlingsTest : public ::testing::Test {
 protected:
  ~SeedlingsTest() override {
    if (!thread_.joinable()) return;
    on_loop([this] { seedlings_.reset(); });
    loop_->stop();
    thread_.join();
  }
  void open(std::uint32_t bound, Seedlings::Pace pace = {.quiet = milliseconds(2)}) {
    auto loop = Loop::make();
    ASSERT_TRUE(loop);
    loop_ = *std::move(loop);
    seedlings_ = std::make_unique<Seedlings>(
        *loop_, bound,
        Seedlings::Work{
            .begin = [this](IdentityProfile profile,
                            IdentityMaker::Done done) { return begin(profile, std::move(done)); },
            .cancel =
                [this](const std::string& why) {
                  cancelled_++;
                  if (done_) std::exchange(done_, nullptr)(fail(ErrorCode::io, why));
                },
            .is_quiet = [this] { return quiet_; }},
        pace);
    thread_ = std::thread([this] { loop_->run(); });
  }
  // All of it belongs to the loop's thread.
  template <class F>
  std::invoke_result_t<F&> on_loop(F act) {
    std::packaged_task<std::invoke_result_t<F&>()> task(std::move(act));
    auto result = task.get_future();
    EXPECT_TRUE(loop_->post([&task] { task(); }));
    return result.get();
  }
  bool wait_until(const std::function<bool()>& holds) {
    for (int i = 0; i < 2000; i++) {
      if (on_loop(holds)) return true;
      std::this_thread::sleep_for(milliseconds(2));
    }
    return false;
  }
  bool wait_ready(std::size_t number) {
    return wait_until([this, number] { return seedlings_->ready() == number; });
  }
  SecretBytes take(IdentityProfile profile) {
    return on_loop([this, profile] { return seedlings_->take(profile); });
  }
  std::vector<IdentityProfile> begun() {
    return on_loop([this] { return begun_; });
  }
  // Long enough for whatever would be done at once.
  static void wait_a_little() { std::this_thread::sleep_for(milliseconds(60)); }

  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Seedlings> seedlings_;
  std::vector<IdentityProfile> begun_;
  IdentityMaker::Done done_;  // of the one that is being made
  int cancelled_ = 0;
  bool quiet_ = true;
  bool fails_ = false;
  bool hangs_ = false;

 private:
  // Bytes that tell the profile, and one from another.
  Result<void> begin(IdentityProfile profile, IdentityMaker::Done done) {
    EXPECT_FALSE(done_) << "two at a time";
    begun_.push_back(profile);
    done_ = std::move(done);
    if (hangs_) return {};
    SecretBytes state{static_cast<std::byte>(profile), static_cast<std::byte>(begun_.size())};
    loop_->after(milliseconds(1), [this, state] {
      if (!done_) return;
      const IdentityMaker::Done to = std::exchange(done_, nullptr);
      if (fails_) return to(fail(ErrorCode::io, "its worker died"));
      to(MadeIdentity{.permanent = state});
    });
    return {};
  }
  std::thread thread_;
};

TEST_F(SeedlingsTest, ThereAreNoMoreThanTheBoundAndEachServesOnce) {
  open(3);
  on_loop([this] { seedlings_->begin(IdentityProfile::standard); });
  ASSERT_TRUE(wait_ready(3));
  wait_a_little();
  EXPECT_EQ(begun().size(), 3U);
  on_loop([this] { quiet_ = false; });
  std::set<SecretBytes> taken;
  for (int i = 0; i < 3; i++) taken.insert(take(IdentityProfile::standard));
  EXPECT_EQ(taken.size(), 3U);
  EXPECT_FALSE(taken.contains(SecretBytes{}));
  EXPECT_TRUE(take(IdentityProfile::standard).empty());
  on_loop([this] { quiet_ = true; });
  ASSERT_TRUE(wait_ready(3));
  EXPECT_FALSE(taken.contains(take(IdentityProfile::standard)));
}

TEST_F(SeedlingsTest, NoneIsMadeWhileSomebodyWaitsForADevice) {
  open(2);
  on_loop([this] {
    quiet_ = false;
    seedlings_->begin(IdentityProfile::full);
  });
  wait_a_little();
  EXPECT_TRUE(begun().empty());
  on_loop([this] { quiet_ = true; });
  ASSERT_TRUE(wait_ready(2));
}

TEST_F(SeedlingsTest, NoneIsMadeWithoutABoundOrAnRsaKey) {
  open(0);
  on_loop([this] { seedlings_->begin(IdentityProfile::standard); });
  EXPECT_TRUE(take(IdentityProfile::standard).empty());
  wait_a_little();
  EXPECT_TRUE(begun().empty());
}

TEST_F(SeedlingsTest, TheyHaveTheProfilesThatWereWantedLately) {
  open(2);
  on_loop([this] { seedlings_->begin(IdentityProfile::ecc); });
  EXPECT_TRUE(take(IdentityProfile::ecc).empty());
  wait_a_little();
  EXPECT_TRUE(begun().empty());
  // As many as there was a need for.
  EXPECT_TRUE(take(IdentityProfile::standard).empty());
  ASSERT_TRUE(wait_ready(1));
  EXPECT_TRUE(take(IdentityProfile::full).empty()) << "it is of another profile";
  ASSERT_TRUE(wait_ready(2));
  const SecretBytes full = take(IdentityProfile::full);
  ASSERT_FALSE(full.empty());
  EXPECT_EQ(full[0], static_cast<std::byte>(IdentityProfile::full));
  // The last two wanted were full ones: what was there for another is gone.
  ASSERT_TRUE(wait_ready(2));
  EXPECT_TRUE(take(IdentityProfile::standard).empty());
}

TEST_F(SeedlingsTest, FailuresAreFollowedByPausesThatGrow) {
  open(1, {.quiet = milliseconds(1),
           .first_pause = milliseconds(40),
           .longest_pause = milliseconds(80)});
  on_loop([this] {
    fails_ = true;
    seedlings_->begin(IdentityProfile::standard);
  });
  const auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(wait_until([this] { return begun_.size() == 2; }));
  for (int i = 0; i < 20; i++) {  // who asks does not shorten them
    EXPECT_TRUE(take(IdentityProfile::standard).empty());
    std::this_thread::sleep_for(milliseconds(5));
  }
  const std::size_t tries = begun().size();
  EXPECT_LE(tries, 2 + (std::chrono::steady_clock::now() - start) / milliseconds(40));
  EXPECT_EQ(on_loop([this] { return seedlings_->failure(); }), "its worker died");
  on_loop([this] { fails_ = false; });
  ASSERT_TRUE(wait_ready(1));
  EXPECT_EQ(on_loop([this] { return seedlings_->failure(); }), "");
}

TEST_F(SeedlingsTest, AllAreGoneIfNoIdentityComesOfOne) {
  open(2, {.quiet = milliseconds(1), .first_pause = milliseconds(10'000)});
  on_loop([this] { seedlings_->begin(IdentityProfile::standard); });
  ASSERT_TRUE(wait_ready(2));
  on_loop([this] { quiet_ = false; });
  EXPECT_FALSE(take(IdentityProfile::standard).empty());
  on_loop([this] { seedlings_->distrust(); });
  EXPECT_TRUE(take(IdentityProfile::standard).empty());
  EXPECT_EQ(on_loop([this] { return seedlings_->ready(); }), 0U);
}

TEST_F(SeedlingsTest, OneThatTakesTooLongIsGivenUp) {
  open(1, {.quiet = milliseconds(1),
           .limit = milliseconds(5),
           .first_pause = milliseconds(5),
           .longest_pause = milliseconds(5)});
  on_loop([this] {
    hangs_ = true;
    seedlings_->begin(IdentityProfile::standard);
  });
  ASSERT_TRUE(wait_until([this] { return cancelled_ > 1; }));
  on_loop([this] { hangs_ = false; });
  ASSERT_TRUE(wait_ready(1));
}

TEST_F(SeedlingsTest, AtTheEndTheyGoAndSoDoesTheOneThatIsBeingMade) {
  open(2);
  on_loop([this] { seedlings_->begin(IdentityProfile::standard); });
  ASSERT_TRUE(wait_ready(2));
  on_loop([this] { hangs_ = true; });
  EXPECT_FALSE(take(IdentityProfile::standard).empty());
  ASSERT_TRUE(wait_until([this] { return static_cast<bool>(done_); }));
  on_loop([this] { seedlings_->end(); });
  EXPECT_EQ(on_loop([this] { return cancelled_; }), 1);
  EXPECT_EQ(on_loop([this] { return seedlings_->ready(); }), 0U);
  EXPECT_TRUE(take(IdentityProfile::standard).empty());
  wait_a_little();
  EXPECT_EQ(begun().size(), 3U);
}

}  // namespace
}  // namespace vtpm::device
