// SPDX-License-Identifier: Apache-2.0
// edges-test: sends a TPM frames that no client should send, and asks after each kind whether it
// still works. Every frame must get a well-formed reply or the errno that the node documents.
//
//   edges-test --device /dev/tpmN | --socket PATH [--seed N] [--count N]
//
// Writes TAP version 13. Exit status: 0 all passed, 1 a test failed, 2 wrong use, 4 (skip) no node.
// The TPM is not good for anything else afterwards: objects, sessions and lockout are left behind.
#include <getopt.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <string>

#include "generator.h"
#include "node.h"

namespace edges {
namespace {

constexpr unsigned kHangSeconds = 120;  // longer than any time-out of a working node
constexpr int kShownFailures = 5;

extern "C" void bail_out(int /*signal*/) {
  constexpr char kText[] = "Bail out! a command hangs\n";
  (void)!::write(STDOUT_FILENO, kText, sizeof(kText) - 1);
  ::_exit(1);
}

Outcome exchange(Node& node, const Frame& frame) {
  (void)::alarm(kHangSeconds);
  Outcome outcome = node.exchange(frame);
  (void)::alarm(0);
  return outcome;
}

std::string start_of(const Frame& frame) {
  std::string text = std::to_string(frame.size()) + " bytes";
  char hex[4];
  for (std::size_t i = 0; i < std::min<std::size_t>(frame.size(), 24); ++i) {
    (void)std::snprintf(hex, sizeof(hex), " %02x", frame[i]);
    text += hex;
  }
  return text;
}

// TPM2_Startup(CLEAR): done already on a kernel node, allowed to be done on a socket.
bool start(Node& node) {
  const Frame command = {0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0};
  const Outcome outcome = exchange(node, command);
  const std::uint32_t rc = code_of(outcome.reply);
  return outcome.error == 0 && malformed(outcome.reply).empty() && (rc == 0 || rc == 0x100);
}

// TPM2_GetCapability(TPM_PT_FAMILY_INDICATOR) has one right answer: "2.0".
bool alive(Node& node) {
  const Frame command = {0x80, 0x01, 0, 0, 0, 22, 0, 0, 0x01, 0x7a, 0,
                         0,    0,    6, 0, 0, 1,  0, 0, 0,    0,    1};
  Frame expected = {0x80, 0x01, 0, 0, 0, 27, 0, 0, 0, 0,   1,   0,   0, 0,
                    6,    0,    0, 0, 1, 0,  0, 1, 0, '2', '.', '0', 0};
  Outcome outcome = exchange(node, command);
  if (outcome.reply.size() == expected.size()) outcome.reply[10] = 1;  // moreData: either
  if (outcome.error == 0 && outcome.reply == expected) return true;
  std::printf("# GetCapability: errno %d, reply %s\n", outcome.error,
              start_of(outcome.reply).c_str());
  return false;
}

class Tap {
 public:
  void plan(int tests) { std::printf("TAP version 13\n1..%d\n", tests); }
  void result(bool ok, const std::string& name) {
    std::printf("%sok %d %s\n", ok ? "" : "not ", ++number_, name.c_str());
    (void)std::fflush(stdout);
    passed_ = passed_ && ok;
  }
  [[nodiscard]] bool passed() const { return passed_; }

 private:
  int number_ = 0;
  bool passed_ = true;
};

bool batch(Node& node, Generator& generator, Frame (Generator::*make)(), long count) {
  std::map<std::string, long> seen;
  long failures = 0;
  for (long i = 0; i < count; ++i) {
    const Frame frame = (generator.*make)();
    const Outcome outcome = exchange(node, frame);
    const std::string why = node.judge(frame, outcome);
    if (outcome.error != 0) {
      ++seen[std::strerror(outcome.error)];
    } else if (outcome.reply.empty()) {
      ++seen["no reply"];
    } else {
      ++seen[code_of(outcome.reply) == 0 ? "success" : "TPM error"];
    }
    if (why.empty() || ++failures > kShownFailures) continue;
    std::printf("# frame %ld: %s\n#   sent %s\n#   got errno %d, %s\n", i, why.c_str(),
                start_of(frame).c_str(), outcome.error, start_of(outcome.reply).c_str());
  }
  for (const auto& [what, times] : seen) std::printf("# %ld x %s\n", times, what.c_str());
  return failures == 0;
}

int run(Node& node, std::uint32_t seed, long count) {
  struct Kind {
    const char* name;
    Frame (Generator::*make)();
  };
  constexpr Kind kKinds[] = {{"oversized", &Generator::oversized},
                             {"truncated", &Generator::truncated},
                             {"zero-length", &Generator::zero_length},
                             {"random", &Generator::random}};
  Tap tap;
  tap.plan(1 + 2 * static_cast<int>(std::size(kKinds)));
  std::printf("# seed %u\n", seed);
  tap.result(start(node) && alive(node), "the TPM answers before");
  Generator generator(seed);
  for (const Kind& kind : kKinds) {
    const std::string name = kind.name;
    tap.result(batch(node, generator, kind.make, count),
               std::to_string(count) + " " + name + " frames get a reply or a documented errno");
    tap.result(alive(node), "the TPM answers after " + name + " frames");
  }
  return tap.passed() ? 0 : 1;
}

int usage() {
  (void)std::fputs("usage: edges-test --device /dev/tpmN | --socket PATH [--seed N] [--count N]\n",
                   stderr);
  return 2;
}

}  // namespace
}  // namespace edges

int main(int argc, char** argv) {
  const option options[] = {{"device", required_argument, nullptr, 'd'},
                            {"socket", required_argument, nullptr, 's'},
                            {"seed", required_argument, nullptr, 'r'},
                            {"count", required_argument, nullptr, 'c'},
                            {nullptr, 0, nullptr, 0}};
  std::string device;
  std::string socket;
  std::uint32_t seed = std::random_device{}();
  long count = 10'000;
  for (int option = 0; (option = ::getopt_long(argc, argv, "", options, nullptr)) != -1;) {
    switch (option) {
      case 'd': device = optarg; break;
      case 's': socket = optarg; break;
      case 'r': seed = static_cast<std::uint32_t>(std::strtoul(optarg, nullptr, 0)); break;
      case 'c': count = std::strtol(optarg, nullptr, 0); break;
      default: return edges::usage();
    }
  }
  if (device.empty() == socket.empty() || optind != argc || count < 1) return edges::usage();
  (void)::signal(SIGALRM, edges::bail_out);
  const auto node = device.empty() ? edges::open_socket(socket) : edges::open_device(device);
  if (!node) return 4;
  return edges::run(*node, seed, count);
}
