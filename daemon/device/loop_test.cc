// SPDX-License-Identifier: Apache-2.0
#include "device/loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>

namespace vtpm::device {
namespace {

using std::chrono::milliseconds;

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
    out.reset(ends[0]);
    in.reset(ends[1]);
  }
  void put() const { EXPECT_EQ(::write(in.get(), "x", 1), 1); }
  void drain() const {
    std::array<char, 64> ignored{};
    (void)!::read(out.get(), ignored.data(), ignored.size());
  }
  UniqueFd out;
  UniqueFd in;
};

std::unique_ptr<Loop> make_loop() {
  auto loop = Loop::make();
  EXPECT_TRUE(loop);
  // A loop that a test cannot stop fails it, and does not hang it.
  auto* raw = loop->get();
  raw->after(std::chrono::seconds(20), [raw] {
    ADD_FAILURE() << "the loop was never stopped";
    raw->stop();
  });
  return *std::move(loop);
}

TEST(Loop, RunsTimersInTheOrderOfTheirTimesAndNotTheCancelled) {
  const auto loop = make_loop();
  std::string order;
  loop->after(milliseconds(30), [&] { order += 'c'; });
  loop->after(milliseconds(10), [&] { order += 'a'; });
  const auto cancelled = loop->after(milliseconds(15), [&] { order += '!'; });
  const auto later = loop->after(milliseconds(40), [&] { order += '!'; });
  loop->after(milliseconds(20), [&] {
    order += 'b';
    loop->cancel(later);
  });
  loop->after(milliseconds(60), [&] { loop->stop(); });
  loop->cancel(cancelled);
  loop->cancel(9999);
  loop->run();
  EXPECT_EQ(order, "abc");
}

TEST(Loop, ATimerMayCancelItselfAndStartAnother) {
  const auto loop = make_loop();
  int runs = 0;
  Loop::TimerId timer = 0;
  std::function<void()> again = [&] {
    loop->cancel(timer);
    if (++runs == 5) return loop->stop();
    timer = loop->after(milliseconds(1), again);
  };
  timer = loop->after(milliseconds(0), again);
  loop->run();
  EXPECT_EQ(runs, 5);
}

TEST(Loop, ADescriptorMayBeUnwatchedInItsOwnCallbackAndInAnothers) {
  const auto loop = make_loop();
  Pipe one;
  Pipe two;
  int calls = 0;
  // Both are readable in one round; whoever is called first unwatches both.
  const auto both = [&] {
    calls++;
    loop->unwatch(one.out.get());
    loop->unwatch(two.out.get());
    loop->unwatch(two.out.get());
  };
  ASSERT_TRUE(loop->watch(one.out.get(), both));
  ASSERT_TRUE(loop->watch(two.out.get(), both));
  one.put();
  two.put();
  loop->after(milliseconds(30), [&] { loop->stop(); });
  loop->run();
  EXPECT_EQ(calls, 1);
}

TEST(Loop, ADescriptorMayBeWatchedAgainFromItsCallback) {
  const auto loop = make_loop();
  Pipe pipe;
  std::string order;
  ASSERT_TRUE(loop->watch(pipe.out.get(), [&] {
    order += '1';
    pipe.drain();
    loop->unwatch(pipe.out.get());
    ASSERT_TRUE(loop->watch(pipe.out.get(), [&] {
      order += '2';
      pipe.drain();
      loop->stop();
    }));
    pipe.put();
  }));
  pipe.put();
  loop->run();
  EXPECT_EQ(order, "12");
}

TEST(Loop, OneDescriptorHasOneCallbackAndAHangUpIsAnEvent) {
  const auto loop = make_loop();
  Pipe pipe;
  ASSERT_TRUE(loop->watch(pipe.out.get(), [&] {
    loop->unwatch(pipe.out.get());
    loop->stop();
  }));
  EXPECT_FALSE(loop->watch(pipe.out.get(), [] {}));
  EXPECT_FALSE(loop->watch(-1, [] {}));
  pipe.in.reset();
  loop->run();
}

TEST(Loop, WorkPostedFromManyThreadsRunsOnceEachOnTheLoopsThread) {
  const auto loop = make_loop();
  constexpr int threads = 8;
  constexpr int each = 500;
  int done = 0;  // no lock: that is what the loop is for
  std::thread::id on;
  std::vector<std::thread> posters;
  for (int t = 0; t < threads; t++)
    posters.emplace_back([&] {
      for (int i = 0; i < each; i++)
        loop->post([&] {
          on = std::this_thread::get_id();
          if (++done == threads * each) loop->stop();
        });
    });
  loop->run();
  for (auto& poster : posters) poster.join();
  EXPECT_EQ(done, threads * each);
  EXPECT_EQ(on, std::this_thread::get_id());
}

TEST(Loop, TheEndOfARoundComesAfterItsCallbacks) {
  const auto loop = make_loop();
  int posted = 0;
  int seen = -1;
  loop->set_round_end([&] { seen = posted; });
  for (int i = 0; i < 3; i++) loop->post([&] { posted++; });
  loop->stop();
  loop->run();
  EXPECT_EQ(seen, 3);
}

TEST(Loop, WorkThatCannotRunAnyMoreIsRefusedNotForgotten) {
  const auto loop = make_loop();
  bool ran = false;
  loop->stop();
  EXPECT_TRUE(loop->post([&] { ran = true; }));  // behind the stop, but taken
  loop->run();
  EXPECT_TRUE(ran);
  EXPECT_FALSE(loop->post([] { ADD_FAILURE() << "ran after the end"; }));
}

}  // namespace
}  // namespace vtpm::device
