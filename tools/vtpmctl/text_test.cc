// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "client.h"
#include "table.h"
#include "terminal_text.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

using ::testing::HasSubstr;

TEST(Printable, KeepsTextAndEscapesWhatATerminalObeys) {
  EXPECT_EQ(printable("plain text é 漢"), "plain text é 漢");
  EXPECT_EQ(printable("\033[2J"), "\\x1b[2J");
  EXPECT_EQ(printable("a\nb\r\t"), "a\\nb\\r\\t");
  EXPECT_EQ(printable(std::string_view("\0\x7f", 2)), "\\x00\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\u009b31m")
      << "C1 control sequence introducer";
  EXPECT_EQ(printable("\u202egnp.exe"), "\\u202egnp.exe");
  EXPECT_EQ(printable("\u2066x\u200b"), "\\u2066x\\u200b");
  EXPECT_EQ(printable("\xf3\xa0\x81\x81"), "\\U000e0041") << "tag characters hide text";
  EXPECT_EQ(printable("a\\x1b"), "a\\\\x1b") << "must not look like an escape";
  EXPECT_EQ(printable(""), "");
}

TEST(Printable, EscapesWhatIsNotUtf8) {
  EXPECT_EQ(printable("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(printable("\xc2\x85\x85"), "\\u0085\\x85") << "a character and a byte differ";
  EXPECT_EQ(printable("\xc3"), "\\xc3") << "cut short";
  EXPECT_EQ(printable("\xc0\x9b"), "\\xc0\\x9b") << "overlong";
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "surrogate";
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80") << "above U+10FFFF";
}

TEST(Printable, RandomBytesGiveNoControlCharacters) {
  std::mt19937 random(1);  // NOLINT: the same bytes each time
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 40, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    for (const char c : printable(bytes)) {
      EXPECT_FALSE((c >= 0 && c < 0x20) || c == 0x7f) << "round " << round;
    }
  }
}

TEST(Cut, MarksWhatIsMissing) {
  EXPECT_EQ(cut("abcdef", 6), "abcdef");
  EXPECT_EQ(cut("abcdef", 4), "abc…");
  EXPECT_EQ(cut("éééé", 3), "éé…") << "never inside a character";
  EXPECT_EQ(cut("abc", 1), "…");
  EXPECT_EQ(cut("abc", 0), "");
}

TEST(ShellWord, QuotesWhatAShellWouldRead) {
  EXPECT_EQ(shell_word("/dev/tpm3"), "/dev/tpm3");
  EXPECT_EQ(shell_word("a b;$(c)"), "'a b;$(c)'");
  EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_word(""), "''");
}

TEST(TableTest, AlignsAndEscapes) {
  Table table({"NAME", "OWNER"});
  table.add({{"web", Tone::good}, {"a\033b", Tone::plain}});
  table.add({{"longer-name", Tone::plain}, {"", Tone::plain}});
  EXPECT_EQ(table.render(false, 0),
            "NAME         OWNER\n"
            "web          a\\x1bb\n"
            "longer-name  -\n");
  EXPECT_THAT(table.render(true, 0), HasSubstr("\033[1mNAME\033[0m         \033[1mOWNER\033[0m\n"));
  EXPECT_THAT(table.render(true, 0), HasSubstr("\033[32mweb\033[0m          a"));
}

TEST(TableTest, CutsOnlyTheLastColumnAndOnlyForATerminal) {
  Table table({"A", "REASON"});
  table.add({{"0123456789", Tone::plain}, {"a reason with many words", Tone::plain}});
  EXPECT_THAT(table.render(false, 0), HasSubstr("many words"));
  EXPECT_EQ(table.render(false, 24), "A           REASON\n0123456789  a reason wi…\n");
  EXPECT_THAT(table.render(false, 10), HasSubstr("many words")) << "too narrow to cut with sense";
}

TEST(Names, FollowTheRule) {
  EXPECT_TRUE(valid_name("web"));
  EXPECT_TRUE(valid_name("0.a_b-C"));
  EXPECT_TRUE(valid_name("2f9e1f0c-5d3c-4c1e-9d55-0f1a2b3c4d5e"));
  EXPECT_TRUE(valid_name(std::string(63, 'a')));
  for (const char* bad : {"", ".a", "-a", "_a", "a/b", "a b", "a\n", "é"}) {
    EXPECT_FALSE(valid_name(bad)) << bad;
  }
  EXPECT_FALSE(valid_name(std::string(64, 'a')));
}

TEST(Durations, NeedAUnitAndARange) {
  EXPECT_EQ(parse_duration("--x", "500ms").value(), 500U);
  EXPECT_EQ(parse_duration("--x", "30s").value(), 30'000U);
  EXPECT_EQ(parse_duration("--x", "60m").value(), 3'600'000U);
  EXPECT_EQ(parse_duration("--x", "1h").value(), 3'600'000U);
  for (const char* bad : {"", "5", "s", "0s", "-1s", "1.5s", "2h", "3600001ms", "1s ", " 1s", "1S",
                          "99999999999999999999s", "18446744073709551615h"}) {
    const auto duration = parse_duration("--x", bad);
    ASSERT_FALSE(duration) << bad;
    EXPECT_EQ(duration.error().exit, Exit::usage);
  }
}

TEST(Times, HoldAtTheEdges) {
  EXPECT_EQ(utc_time(0), "1970-01-01T00:00:00.000000000Z");
  EXPECT_EQ(utc_time(1'762'178'531'000'000'001), "2025-11-03T14:02:11.000000001Z");
  EXPECT_EQ(utc_time(-1), "1969-12-31T23:59:59.999999999Z");
  EXPECT_FALSE(utc_time(INT64_MIN).empty());
  EXPECT_FALSE(local_time(INT64_MAX).empty());
}

TEST(Nearest, FindsWhatWasMeant) {
  const std::vector<std::string> verbs{"create", "list", "show", "start", "stop", "power-cycle"};
  EXPECT_EQ(nearest("lst", verbs), "list");
  EXPECT_EQ(nearest("sotp", verbs), "stop");
  EXPECT_EQ(nearest("creat", verbs), "create");
  EXPECT_EQ(nearest("power", verbs), "power-cycle");
  EXPECT_EQ(nearest("frobnicate", verbs), "");
  EXPECT_EQ(nearest("", verbs), "");
  EXPECT_EQ(nearest(std::string(100'000, 'x'), verbs), "");
}

TEST(Words, ValuesOfALaterApiAreShown) {
  EXPECT_EQ(word(static_cast<v1::State>(99)), "unknown-99");
  EXPECT_EQ(word(static_cast<v1::Mode>(0)), "unknown-0");
  EXPECT_EQ(response_code_name(0x156), "TPM_RC_READ_ONLY");
  EXPECT_EQ(response_code_name(0x9a2), "0x9a2");
}

TEST(Candidates, ObserversTryTheObserveSocketFirst) {
  const std::filesystem::path run("/run/vtpm");
  EXPECT_EQ(candidates(Role::observe, run, "").front(), run / "observe.sock");
  EXPECT_EQ(candidates(Role::observe, run, "").back(), run / "admin.sock");
  EXPECT_EQ(candidates(Role::admin, run, "").size(), 1U);
  EXPECT_EQ(candidates(Role::admin, run, "/x").front(), "/x");
  EXPECT_EQ(candidates(Role::observe, run, "/x").size(), 1U);
}

}  // namespace
}  // namespace vtpm::ctl
