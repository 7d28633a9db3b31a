// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace vtpm::log {
namespace {

using ::testing::ExitedWithCode;
using ::testing::HasSubstr;

class Log : public ::testing::Test {
 protected:
  void SetUp() override { set_program("prog"); }
  void TearDown() override { set_level(Level::info); }
  template <class F>
  std::string captured(F write_some) {
    ::testing::internal::CaptureStderr();
    write_some();
    return ::testing::internal::GetCapturedStderr();
  }
};

TEST_F(Log, OneLineWithFields) {
  EXPECT_EQ(captured([] { warning("worker died", {{"device", "vm-1"}, {"status", "11"}}); }),
            "prog: warning: worker died device=vm-1 status=11\n");
  EXPECT_EQ(captured([] { error("x"); }), "prog: error: x\n");
  EXPECT_EQ(captured([] { notice("x"); }), "prog: notice: x\n");
  EXPECT_EQ(captured([] { info("x"); }), "prog: info: x\n");
}

TEST_F(Log, QuotesWhatWouldReadAsSomethingElse) {
  EXPECT_EQ(captured([] { info("m", {{"f", ""}}); }), "prog: info: m f=\"\"\n");
  EXPECT_EQ(captured([] { info("m", {{"f", "a b"}}); }), "prog: info: m f=\"a b\"\n");
  EXPECT_EQ(captured([] { info("m", {{"f", "a=b"}}); }), "prog: info: m f=\"a=b\"\n");
  EXPECT_EQ(captured([] { info("m", {{"f", "a\"b"}}); }), "prog: info: m f=\"a\\\"b\"\n");
  EXPECT_EQ(captured([] { info("m", {{"f", "a\\"}}); }), "prog: info: m f=\"a\\\\\"\n");
  EXPECT_EQ(captured([] { info("m", {{"f", "\" uid=\"0"}}); }),
            "prog: info: m f=\"\\\" uid=\\\"0\"\n");
}

// A name or an error text that came from outside must not forge a line or drive a terminal.
TEST_F(Log, ControlCharactersForgeNothing) {
  std::string hostile = "x";
  for (char c = 1; c < 0x20; c++) hostile += c;
  hostile += '\x7f';
  hostile += '\0';
  hostile += "<0>prog: error: forged\r\n";
  const auto one_clean_line = [](const std::string& line) {
    ASSERT_FALSE(line.empty());
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    EXPECT_TRUE(std::none_of(line.begin(), line.end() - 1, [](char c) {
      return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    })) << line;
    EXPECT_THAT(line, HasSubstr("forged"));
  };
  one_clean_line(captured([&] { error("m", {{"f", hostile}}); }));
  one_clean_line(captured([&] { error(hostile); }));
}

TEST_F(Log, KeepsTextThatIsNotAscii) {
  EXPECT_THAT(captured([] { info("m", {{"f", "\xc3\xa4"}}); }), HasSubstr("f=\xc3\xa4"));
}

TEST_F(Log, LevelsFilter) {
  EXPECT_EQ(captured([] { debug("hidden"); }), "");
  set_level(Level::debug);
  EXPECT_THAT(captured([] { debug("shown"); }), HasSubstr("debug: shown"));
  set_level(Level::error);
  EXPECT_EQ(captured([] { warning("hidden"); }), "");
  EXPECT_THAT(captured([] { error("shown"); }), HasSubstr("shown"));
}

TEST_F(Log, TakesHugeValuesWhole) {
  const std::string huge(100000, 'h');
  EXPECT_THAT(captured([&] { info("m", {{"f", huge}}); }), HasSubstr("f=" + huge + "\n"));
}

TEST_F(Log, PrefixesPrioritiesForTheJournalOnly) {
  // A process of its own: what stderr is, is looked up once.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto log_with_stream = [](bool same) {
    struct stat st{};
    ::fstat(STDERR_FILENO, &st);
    const std::string stream =
        std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino + (same ? 0 : 1));
    ::setenv("JOURNAL_STREAM", stream.c_str(), 1);
    warning("worker died");
    std::exit(0);
  };
  EXPECT_EXIT(log_with_stream(true), ExitedWithCode(0), "<4>worker died");
  EXPECT_EXIT(log_with_stream(false), ExitedWithCode(0), "prog: warning: worker died");
}

}  // namespace
}  // namespace vtpm::log
