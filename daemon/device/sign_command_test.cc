// SPDX-License-Identifier: Apache-2.0
#include "device/sign_command.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "base/temporary_folder.h"

namespace vtpm::device {
namespace {

using std::chrono::milliseconds;

class SignCommandTest : public ::testing::Test {
 protected:
  std::string script(const std::string& text, mode_t mode = 0755) {
    const std::string path = folder_ / "sign";
    write_file(path, "#!/bin/sh\n" + text + "\n");
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
    return path;
  }
  static std::unique_ptr<SignCommand> command(const std::string& path,
                                              milliseconds limit = milliseconds(10'000)) {
    auto made = SignCommand::make(path, limit);
    EXPECT_TRUE(made);
    return *std::move(made);
  }
  static Result<Bytes> sign(const std::string& path, ByteView message = {},
                            milliseconds limit = milliseconds(10'000)) {
    return command(path, limit)
        ->sign({.message = message, .what = "certificate", .digest = "sha384", .key = "0a0b"});
  }
  // What it answers, or why it does not.
  static std::string outcome(const std::string& path, milliseconds limit = milliseconds(10'000)) {
    const auto signature = sign(path, as_bytes(std::string_view("message")), limit);
    return signature ? "signed: " + std::string(as_text(*signature)) : signature.error().message;
  }
  static void expect_refusal(const std::string& outcome, const std::string& why) {
    EXPECT_TRUE(outcome.starts_with("the command of --ca-sign-command ")) << outcome;
    EXPECT_NE(outcome.find(why), std::string::npos) << outcome;
  }
  // Of a process whose number a script has written.
  void expect_dead(const std::string& name) {
    const pid_t pid = std::stoi(read_file(folder_ / name));
    bool there = true;
    for (int i = 0; i < 500 && there; i++) {
      const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
      there = !stat.empty() && stat.find(") Z ") == std::string::npos;
      if (there) std::this_thread::sleep_for(milliseconds(10));
    }
    EXPECT_FALSE(there) << pid;
  }
  TemporaryFolder folder_;
};

TEST_F(SignCommandTest, GetsTheMessageAsAFileAndNothingElseOfOurs) {
  ::setenv("SECRET_OF_THE_TEST", "1", 1);
  EXPECT_EQ(outcome(script("cat")), "signed: message");
  EXPECT_EQ(outcome(script("cat /dev/stdin /dev/stdin")), "signed: messagemessage");
  EXPECT_EQ(outcome(script("echo $# $0 $(pwd)")), "signed: 0 " + (folder_ / "sign") + " /\n");
  EXPECT_EQ(outcome(script("env | grep -v '^PWD=\\|^_=\\|^OLDPWD=\\|^SHLVL=' | sort")),
            "signed: PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
            "VTPM_SIGN_DIGEST=sha384\nVTPM_SIGN_KEY=0a0b\nVTPM_SIGN_WHAT=certificate\n");
  EXPECT_EQ(outcome(script("for fd in /proc/$$/fd/*; do echo -n ${fd##*/}; done")),
            "signed: 011023");  // the shell has its script at 10, and at 3 the folder
  // Signals are as anybody has them, whatever we block and ignore.
  const auto before = ::signal(SIGPIPE, SIG_IGN);
  expect_refusal(outcome(script("kill -PIPE $$; echo goes on")), "died of signal 13");
  ::signal(SIGPIPE, before);
  ::unsetenv("SECRET_OF_THE_TEST");
  const Bytes large(std::size_t{3} << 20, std::byte{'x'});
  const auto size = sign(script("wc -c"), large);
  ASSERT_TRUE(size);
  EXPECT_EQ(as_text(*size), "3145728\n");
}

TEST_F(SignCommandTest, ItsFailuresAreSaidInItsWords) {
  const std::string all = outcome(script("echo half; printf 'no\\tslot\\nsorry\\n' >&2; exit 3"));
  expect_refusal(all, "failed with status 3: no?slot sorry");
  expect_refusal(outcome(script("kill -SEGV $$")), "died of signal 11");
  expect_refusal(outcome(script("echo 'no token' >&2")), "wrote no signature: no token");
  expect_refusal(outcome(script("head -c 100000 /dev/zero")), "writes more than a signature");
  expect_refusal(outcome(script("head -c 2049 /dev/zero")), "writes more than a signature");
  EXPECT_EQ(sign(script("head -c 2048 /dev/zero"))->size(), 2048U);
  const std::string loud = outcome(script("yes x | head -c 1000000 >&2; exit 1"));
  expect_refusal(loud, "failed with status 1: x x");
  EXPECT_LT(loud.size(), 400U);
  const auto none = sign("");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::failed_precondition);
}

TEST_F(SignCommandTest, OneThatHangsDiesWithAllThatItStarted) {
  const std::string hangs = script("echo $$ >" + (folder_ / "first") + "; sleep 1000 & echo $! >" +
                                   (folder_ / "second") + "; exec >&- 2>&-; wait");
  expect_refusal(outcome(hangs, milliseconds(700)), "did not answer within 0.7 s");
  expect_dead("first");
  expect_dead("second");
  // What stays behind does not keep anybody waiting.
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(outcome(script("sleep 1000 & echo $! >" + (folder_ / "third") + "; echo done")),
            "signed: done\n");
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(8));
  expect_dead("third");
}

TEST_F(SignCommandTest, EndsWithVtpmd) {
  const auto hanging = command(script("exec sleep 1000"));
  std::string why;
  std::thread waits([&] {
    const auto signature =
        hanging->sign({.message = {}, .what = "crl", .digest = "sha256", .key = ""});
    why = signature ? "signed" : signature.error().message;
  });
  std::this_thread::sleep_for(milliseconds(100));
  hanging->end();
  waits.join();
  EXPECT_EQ(why, "vtpmd is stopping");
  EXPECT_FALSE(hanging->sign({.message = {}, .what = "crl", .digest = "sha256", .key = ""}));
}

TEST_F(SignCommandTest, RunsNothingThatSomebodyElseCouldChange) {
  EXPECT_FALSE(SignCommand::make("bin/sign"));
  EXPECT_FALSE(SignCommand::make("./sign"));
  expect_refusal(outcome(folder_ / "nothing"), "cannot be found");
  expect_refusal(outcome(folder_ / ""), "is no program");
  EXPECT_NE(outcome(script("cat", 0644)).find("Permission denied"), std::string::npos);
  expect_refusal(outcome(script("cat", 0775)), "others may write");
  expect_refusal(outcome(script("cat", 0757)), "others may write");
  const std::string good = script("cat");
  std::filesystem::create_symlink(good, folder_ / "link");
  EXPECT_EQ(outcome(folder_ / "link"), "signed: message");
  const std::string folder = folder_ / "below";
  std::filesystem::create_directory(folder);
  std::filesystem::copy(good, folder + "/sign");
  EXPECT_EQ(outcome(folder + "/sign"), "signed: message");
  ASSERT_EQ(::chmod(folder.c_str(), 0777), 0);
  expect_refusal(outcome(folder + "/sign"), "others may write " + folder);
  std::filesystem::remove(folder_ / "link");
  std::filesystem::create_symlink(folder + "/sign", folder_ / "link");
  expect_refusal(outcome(folder_ / "link"), "others may write " + folder);
  if (::geteuid() != 0) return;
  ASSERT_EQ(::chmod(folder.c_str(), 0755), 0);
  ASSERT_EQ(::chown((folder + "/sign").c_str(), 65534, 65534), 0);
  expect_refusal(outcome(folder + "/sign"), "belongs to user 65534");
}

}  // namespace
}  // namespace vtpm::device
