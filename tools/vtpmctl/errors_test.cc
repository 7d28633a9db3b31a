// SPDX-License-Identifier: Apache-2.0
// Each exit status, and what is said with it.
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <atomic>
#include <thread>

#include "base/unique_fd.h"
#include "fake_vtpmd.h"

namespace vtpm::ctl {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class Errors : public VtpmctlTest {
 protected:
  int run_against(grpc::StatusCode code, const std::string& message, const std::string& hint) {
    state.verdict = {code, message};
    state.verdict_hint = hint;
    return run({"start", "web"});
  }
};

TEST_F(Errors, StatusCodesBecomeExitStatuses) {
  start();
  using grpc::StatusCode;
  const std::vector<std::pair<StatusCode, int>> table{
      {StatusCode::INVALID_ARGUMENT, 2},
      {StatusCode::NOT_FOUND, 3},
      {StatusCode::ALREADY_EXISTS, 4},
      {StatusCode::FAILED_PRECONDITION, 4},
      {StatusCode::ABORTED, 4},
      {StatusCode::PERMISSION_DENIED, 5},
      {StatusCode::UNAUTHENTICATED, 5},
      {StatusCode::INTERNAL, 1},
      {StatusCode::RESOURCE_EXHAUSTED, 1},
      {StatusCode::UNKNOWN, 1},
      {StatusCode::DATA_LOSS, 1},
      {StatusCode::UNAVAILABLE, 1},
      {StatusCode::DEADLINE_EXCEEDED, 1},
      {StatusCode::UNIMPLEMENTED, 1},
  };
  for (const auto& [code, exit] : table) {
    EXPECT_EQ(run_against(code, "it went wrong", "do this"), exit) << code;
    EXPECT_EQ(err, "vtpmctl: it went wrong\n  hint: do this\n") << code;
    EXPECT_EQ(out, "");
    EXPECT_EQ(run_against(code, "it went wrong", ""), exit) << code << " without a hint";
    EXPECT_THAT(err, HasSubstr("vtpmctl: it went wrong\n")) << code;
  }
}

TEST_F(Errors, HintsOfOurOwnFillIn) {
  start();
  EXPECT_EQ(run_against(grpc::StatusCode::NOT_FOUND, "no device 'web'", ""), 3);
  EXPECT_THAT(err, HasSubstr("  hint: 'vtpmctl list'"));
  EXPECT_EQ(run_against(grpc::StatusCode::INTERNAL, "", ""), 1);
  EXPECT_THAT(err, HasSubstr("no reason"));
}

TEST_F(Errors, HostileErrorTextIsEscaped) {
  start();
  EXPECT_EQ(run_against(grpc::StatusCode::INTERNAL, "a\033[2Jb\nvtpmctl: fake", "h\\x1bi"),
            1);  // gRPC sends no control character in a trailer
  EXPECT_EQ(err, "vtpmctl: a\\x1b[2Jb\\nvtpmctl: fake\n  hint: h\\\\x1bi\n");
}

TEST_F(Errors, NoSocket) {
  EXPECT_EQ(run({"start", "web"}), 6);
  EXPECT_THAT(err, HasSubstr("vtpmd is not reachable: there is no " + dir.path().string()));
  EXPECT_THAT(err, HasSubstr("systemctl start vtpmd"));
  for (const char* verb : {"list", "watch", "denied"}) EXPECT_EQ(run({verb}), 6) << verb;
  EXPECT_EQ(run({"delete", "a", "b"}), 6);
  EXPECT_EQ(err.find("vtpmctl:"), err.rfind("vtpmctl:")) << "said once, not for each name";
}

TEST_F(Errors, ObserversFallBackToTheAdminSocket) {
  start(false, true);
  state.devices = {make_device("web")};
  EXPECT_EQ(run({"list"}), 0) << err;
  EXPECT_EQ(run({"doctor"}), 7) << "the observe socket is missing";
}

TEST_F(Errors, ObserveSocketDoesNotAdminister) {
  start(true, false);
  state.devices = {make_device("web")};
  EXPECT_EQ(run({"start", "web"}), 6) << "no admin socket";
  EXPECT_EQ(run({"start", "web", "--socket", dir.path() / "observe.sock"}), 5);
  EXPECT_THAT(err, HasSubstr("only observes"));
}

TEST_F(Errors, SocketIsChosenByOptionBeforeVariable) {
  start(false, true);
  std::filesystem::rename(dir.path() / "admin.sock", dir.path() / "other");
  variables["VTPM_SOCKET"] = dir.path() / "other";
  EXPECT_EQ(run({"list"}), 0) << err;
  EXPECT_EQ(run({"list", "--socket", "/nowhere"}), 6);
  EXPECT_THAT(err, HasSubstr("/nowhere"));
  variables["VTPM_SOCKET"] = "/nowhere";
  EXPECT_EQ(run({"--socket", dir.path() / "other", "list"}), 0) << err;
  variables["VTPM_SOCKET"] = "/" + std::string(200, 'x');
  EXPECT_EQ(run({"list"}), 2) << "too long for a unix socket";
}

// A socket that listens, and what it does with who connects.
class Listener {
 public:
  explicit Listener(const std::filesystem::path& path)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd_.get(), 8), 0);
  }
  ~Listener() {
    ::shutdown(fd_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
  }
  void answer(std::string bytes) {
    thread_ = std::thread([this, bytes] {
      for (;;) {
        const UniqueFd client(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!client) return;
        (void)::send(client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      }
    });
  }
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_;
  std::thread thread_;
};

TEST_F(Errors, StaleSocket) {
  Listener listener(dir.path() / "admin.sock");
  listener.close();
  EXPECT_EQ(run({"start", "web"}), 6);
  EXPECT_THAT(err, HasSubstr("nobody listens"));
}

TEST_F(Errors, SomethingElseListens) {
  Listener listener(dir.path() / "admin.sock");
  listener.answer("SSH-2.0-nothing\r\n" + std::string(5000, '\033'));
  EXPECT_EQ(run({"start", "web"}), 6);
  EXPECT_THAT(err, HasSubstr("the connection to vtpmd broke"));
  EXPECT_THAT(err, Not(HasSubstr("\033")));
}

TEST_F(Errors, NobodyAnswersInTime) {
  const Listener listener(dir.path() / "admin.sock");
  timeout = std::chrono::milliseconds(200);
  EXPECT_EQ(run({"start", "web"}), 1);
  EXPECT_THAT(err, HasSubstr("did not answer in time"));
  EXPECT_THAT(err, HasSubstr("may still be done"));
}

TEST_F(Errors, SocketOfAnotherUser) {
  const Listener listener(dir.path() / "admin.sock");
  ASSERT_EQ(::chmod((dir.path() / "admin.sock").c_str(), 0600), 0);
  if (::geteuid() != 0) {
    ASSERT_EQ(::chmod((dir.path() / "admin.sock").c_str(), 0), 0);
  }
  const pid_t child = ::fork();
  if (child == 0) {
    constexpr uid_t kNobody = 65534;
    if (::geteuid() == 0 && ::setresuid(kNobody, kNobody, kNobody) != 0) ::_exit(99);
    const int exit = run({"start", "web"});
    const bool told =
        err.find("you may not use") != std::string::npos && err.find("mode 0") != std::string::npos;
    ::_exit(told ? exit : 98);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 5);
}

TEST_F(Errors, WrongCommandLines) {
  start();
  const std::vector<std::vector<std::string>> lines{
      {},
      {"frobnicate"},
      {"list", "extra"},
      {"show"},
      {"show", ""},
      {"show", "a/b"},
      {"start"},
      {"start", "ok", "not ok"},
      {"create"},
      {"create", ".hidden"},
      {"create", "a", "--mode", "ro"},
      {"create", "a", "--for", "pod"},
      {"create", "a", "--command-timeout", "30"},
      {"create", "a", "--socket-path", "/s"},
      {"create", "a", "--node", "socket", "--socket-path", "relative"},
      {"create", "a", "--compat", "windows"},
      {"list", "-o", "xml"},
      {"attach", "web"},
      {"attach", "web", "--pid", "0"},
      {"attach", "web", "--pid", "-1"},
      {"attach", "a/b", "--pid", "1"},
      {"attach", "web", "--pid", "1", "--as", "/dev/tpm0"},
      {"detach", "web", "--pid", "1", "--as", "0"},
      {"--frobnicate"},
      {"show", std::string(1 << 20, 'a')},
      {std::string(1 << 20, 'a')},
  };
  for (const auto& line : lines) {
    EXPECT_EQ(run(line), 2) << ::testing::PrintToString(line).substr(0, 200);
    EXPECT_THAT(err, HasSubstr("vtpmctl: ")) << ::testing::PrintToString(line).substr(0, 200);
    EXPECT_THAT(err, HasSubstr("\n  hint: ")) << ::testing::PrintToString(line).substr(0, 200);
    EXPECT_EQ(out, "");
  }
  EXPECT_TRUE(state.calls.empty());
}

TEST_F(Errors, TheNearestVerbAndOptionAreSuggested) {
  EXPECT_EQ(run({"creaet", "web"}), 2);
  EXPECT_THAT(err, HasSubstr("there is no verb 'creaet'\n  hint: did you mean 'create'?"));
  EXPECT_EQ(run({"create", "web", "--ownr", "x"}), 2);
  EXPECT_THAT(err, HasSubstr("did you mean '--owner'?"));
}

TEST_F(Errors, DevicesMayBeNamedLikeVerbs) {
  start();
  state.devices = {make_device("list")};
  EXPECT_EQ(run({"show", "list", "-o", "json"}), 0) << err;
  EXPECT_EQ(json()["name"], "list");
}

TEST_F(Errors, EachVerbTeaches) {
  EXPECT_EQ(run({"--help"}), 0);
  EXPECT_THAT(out, HasSubstr("Exit status:"));
  for (const char* verb :
       {"create",     "clone", "rebase",  "snapshot",    "rollback", "template", "list",   "show",
        "start",      "stop",  "delete",  "power-cycle", "park",     "set-mode", "attach", "detach",
        "generalize", "set",   "release", "watch",       "denied",   "doctor",   "version"}) {
    EXPECT_EQ(run({verb, "--help"}), 0);
    EXPECT_THAT(out, HasSubstr("Example")) << verb;
    EXPECT_THAT(out, HasSubstr(std::string("  vtpmctl ") + verb)) << verb;
    const std::string help = out;
    EXPECT_EQ(run({"help", verb}), 0);
    EXPECT_EQ(out, help);
  }
  EXPECT_EQ(run({"--version"}), 0);
  EXPECT_EQ(out, "vtpmctl " VTPM_VERSION "\n");
}

TEST_F(Errors, OutputThatNobodyTakesIsAFailure) {
  start();
  std::istringstream in;
  std::ostringstream err_stream;
  std::ostream broken(nullptr);
  Environment environment{in, broken, err_stream};
  environment.run_dir = dir.path();
  state.devices = {make_device("a")};
  EXPECT_EQ(ctl::run({"list"}, environment), Exit::failed);
  EXPECT_THAT(err_stream.str(), HasSubstr("could not be written"));
}

}  // namespace
}  // namespace vtpm::ctl
