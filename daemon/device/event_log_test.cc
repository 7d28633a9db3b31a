// SPDX-License-Identifier: Apache-2.0
// The event log byte by byte, what it takes and what it refuses, and its two files.
#include "device/event_log.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <random>

#include "base/temporary_folder.h"
#include "device/event_logs.h"

namespace vtpm::device {
namespace {

Event event(std::uint8_t pcr, std::string what, std::uint8_t fill = 1) {
  Event e;
  e.measurement.pcr = pcr;
  e.measurement.digests.fill(std::byte{fill});
  e.what = std::move(what);
  return e;
}

std::vector<Event> whole(std::vector<Event> measured) {
  auto events = with_separators(std::move(measured));
  EXPECT_TRUE(events);
  return events ? *std::move(events) : std::vector<Event>{};
}

// PFP 10.4.5.1 and 10.2.1, by hand.
TEST(EventLog, IsWhatTheSpecificationSays) {
  const std::string header =
      "00000000"
      "03000000"
      "0000000000000000000000000000000000000000"
      "2d000000"
      "53706563204944204576656e74303300"
      "00000000"
      "00020002"
      "04000000"
      "04001400"
      "0b002000"
      "0c003000"
      "0d004000"
      "00";
  EXPECT_EQ(to_hex(encode_event_log({})), header);
  const std::vector<Event> one{event(9, "a b", 0xab)};
  const auto ab = [](std::size_t n) {
    std::string hex;
    while (n-- > 0) hex += "ab";
    return hex;
  };
  EXPECT_EQ(to_hex(encode_event_log(one)), header +
                                               "09000000"
                                               "0d000000"
                                               "04000000"
                                               "0400" +
                                               ab(20) + "0b00" + ab(32) + "0c00" + ab(48) + "0d00" +
                                               ab(64) +
                                               "04000000"
                                               "61206200");
}

TEST(EventLog, EndsWithASeparatorInEachPcrThatItUses) {
  const auto events = whole({event(9, "f"), event(12, "g"), event(9, "h")});
  ASSERT_EQ(events.size(), 6U);
  for (std::size_t i = 0; i < 3; i++) EXPECT_EQ(events[i].type, EventType::ipl);
  const std::array<int, 3> pcrs{8, 9, 12};
  for (std::size_t i = 3; i < 6; i++) {
    EXPECT_EQ(events[i].type, EventType::separator);
    EXPECT_EQ(events[i].measurement.pcr, pcrs[i - 3]);
    // printf '\0\0\0\0' | sha1sum, and so on
    const std::string hex = to_hex(events[i].measurement.digests);
    EXPECT_EQ(hex.substr(0, 40), "9069ca78e7450a285173431b3e52c5c25299e473");
    EXPECT_EQ(hex.substr(40, 64),
              "df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119");
  }
  EXPECT_EQ(whole({}).size(), 2U) << "also if nothing is measured";
}

TEST(EventLog, SurvivesItsRoundTrip) {
  std::vector<Event> most;
  for (std::size_t i = 0; i < kMaxMeasurements; i++)
    most.push_back(event(static_cast<std::uint8_t>(i % 16), std::string(1024, 'x'),
                         static_cast<std::uint8_t>(i)));
  for (const auto& measured : {std::vector<Event>{}, {event(9, "\xc3\xa4")}, most}) {
    const auto events = whole(measured);
    const Bytes log = encode_event_log(events);
    EXPECT_LE(log.size(), kMaxEventLog);
    const auto back = decode_event_log(log);
    ASSERT_TRUE(back);
    EXPECT_EQ(encode_event_log(*back), log);
  }
}

TEST(EventLog, RefusesWhatIsTooMuchOrNoWords) {
  const auto code = [](std::vector<Event> measured) {
    const auto events = with_separators(std::move(measured));
    return events ? std::optional<ErrorCode>{} : events.error().code;
  };
  EXPECT_EQ(code(std::vector<Event>(kMaxMeasurements, event(9, "x"))), std::nullopt);
  EXPECT_EQ(code(std::vector<Event>(kMaxMeasurements + 1, event(9, "x"))), ErrorCode::too_large);
  EXPECT_EQ(code({event(9, std::string(kMaxEventTexts, 'x'))}), std::nullopt);
  EXPECT_EQ(code({event(9, std::string(kMaxEventTexts, 'x')), event(8, "y")}),
            ErrorCode::too_large);
  EXPECT_EQ(code({event(15, "x")}), std::nullopt);
  EXPECT_EQ(code({event(16, "x")}), ErrorCode::invalid_argument);
  EXPECT_EQ(code({event(9, "")}), ErrorCode::invalid_argument);
  EXPECT_EQ(code({event(9, std::string("a\0b", 3))}), ErrorCode::invalid_argument);
  EXPECT_EQ(code({event(9, "a\nb")}), ErrorCode::invalid_argument);
}

TEST(EventLog, NothingElseIsReadAsOne) {
  const Bytes good = encode_event_log(whole({event(9, "file"), event(8, "text=1")}));
  ASSERT_TRUE(decode_event_log(good));
  for (std::size_t size = 0; size < good.size(); size++)
    EXPECT_FALSE(decode_event_log(ByteView(good).first(size))) << size;
  Bytes longer = good;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(decode_event_log(longer));
  EXPECT_FALSE(decode_event_log(encode_event_log({}))) << "no separators";
  std::mt19937 random(7);  // NOLINT: the same bytes at each run
  for (int i = 0; i < 3'000; i++) {
    Bytes bytes = good;
    bytes[random() % bytes.size()] ^= static_cast<std::byte>(1 + random() % 255);
    if (const auto events = decode_event_log(bytes)) {
      EXPECT_EQ(encode_event_log(*events), bytes);
    }
  }
}

class EventLogsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto logs = EventLogs::open(folder_.path());
    ASSERT_TRUE(logs) << logs.error().message;
    logs_.emplace(*std::move(logs));
    device_.bytes.fill(std::byte{3});
  }
  std::string published() {
    std::ifstream file(logs_->path("web"), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  TemporaryFolder folder_;
  std::optional<EventLogs> logs_;
  Uuid device_;
};

TEST_F(EventLogsTest, TheFileKeepsItsInodeAndIsForEverybody) {
  const auto first = whole({event(9, std::string(1000, 'x'))});
  const auto second = whole({event(9, "short")});
  ASSERT_TRUE(logs_->put(device_, "web", first));
  EXPECT_EQ(published(), as_text(encode_event_log(first)));
  struct stat before{};
  ASSERT_EQ(::stat(logs_->path("web").c_str(), &before), 0);
  EXPECT_EQ(before.st_mode & 07777U, 0644U);
  ASSERT_TRUE(logs_->put(device_, "web", second));
  EXPECT_EQ(published(), as_text(encode_event_log(second)));
  struct stat after{};
  ASSERT_EQ(::stat(logs_->path("web").c_str(), &after), 0);
  EXPECT_EQ(after.st_ino, before.st_ino);
  logs_->remove(device_, "web");
  EXPECT_NE(::stat(logs_->path("web").c_str(), &after), 0);
  EXPECT_FALSE(logs_->get(device_, "web"));
}

TEST_F(EventLogsTest, APublicCopyThatSomebodySpoiltIsNotBelieved) {
  const auto events = whole({event(9, "x")});
  ASSERT_TRUE(logs_->put(device_, "web", events));
  std::ofstream(logs_->path("web")) << "forged";
  const auto back = logs_->get(device_, "web");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(encode_event_log(*back), encode_event_log(events));
  EXPECT_EQ(published(), as_text(encode_event_log(events))) << "made good";
}

}  // namespace
}  // namespace vtpm::device
