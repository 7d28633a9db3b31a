// SPDX-License-Identifier: Apache-2.0
// gate-test: is this TPM in read-only mode, completely?
//
// Sends at least one well-formed frame for each of the 110 commands and prints TAP 14, one line a
// case. The TPM must be in read-only mode; PCR 16 is extended and reset, nothing else is left.
// Exit status: 0 all as expected, 1 a mismatch, 2 usage, 3 the node cannot be reached.
#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "cases.h"
#include "frame/frame.h"
#include "node.h"

namespace vtpm::gate_test {
namespace {

constexpr std::string_view kUsage =
    "usage: gate-test (--device PATH | --socket PATH) [--rm] [--linux-hmac]\n"
    "       gate-test --list [--rm] [--linux-hmac]\n"
    "  --rm          PATH is a resource-managed node (/dev/tpmrmN): run only what names no\n"
    "                transient object, sequence or session\n"
    "  --linux-hmac  the device has compat=linux-hmac\n";

struct Arguments {
  std::string device, socket;
  bool managed = false, linux_hmac = false, list = false;
};

bool parse_arguments(const std::vector<std::string_view>& words, Arguments& out) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    const bool has_value = i + 1 < words.size();
    if (words[i] == "--device" && has_value) {
      out.device = words[++i];
    } else if (words[i] == "--socket" && has_value) {
      out.socket = words[++i];
    } else if (words[i] == "--rm") {
      out.managed = true;
    } else if (words[i] == "--linux-hmac") {
      out.linux_hmac = true;
    } else if (words[i] == "--list") {
      out.list = true;
    } else {
      return false;
    }
  }
  return out.list || out.device.empty() != out.socket.empty();
}

std::vector<const Case*> select(const Arguments& arguments) {
  std::vector<const Case*> chosen;
  for (const Case& one : cases()) {
    const bool mode =
        one.only == Only::always || (one.only == Only::with_linux_hmac) == arguments.linux_hmac;
    if (mode && (!arguments.managed || is_managed(one))) chosen.push_back(&one);
  }
  return chosen;
}

// What is wrong with the node's answer to this case; empty = nothing.
std::string run(const Case& one, Node& node, Saved& saved) {
  const std::optional<Bytes> frame = build(one, saved);
  if (!frame) return "an earlier case did not give what this one needs";
  const Result<Bytes> reply = node.exchange(*frame);
  if (!reply) return reply.error().message;
  keep(one, *reply, saved);
  return judge(one, *reply);
}

int run_all(const std::vector<const Case*>& chosen, Node& node) {
  // A socket's TPM may not be started yet; a kernel node's is, and says TPM_RC_INITIALIZE.
  const Bytes startup = from_hex("80010000000c000001440000").value();
  if (const Result<Bytes> reply = node.exchange(startup); !reply) {
    fmt::print("Bail out! {}\n", reply.error().message);
    return 3;
  }
  Saved saved;
  std::size_t failed = 0;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const std::string wrong = run(*chosen[i], node, saved);
    if (!wrong.empty()) ++failed;
    fmt::print("{} {} - {}\n", wrong.empty() ? "ok" : "not ok", i + 1, title(*chosen[i]));
    if (!wrong.empty()) fmt::print("  ---\n  message: \"{}\"\n  ...\n", wrong);
    (void)std::fflush(stdout);
  }
  if (failed != 0) fmt::print("# {} of {} failed\n", failed, chosen.size());
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace vtpm::gate_test

int main(int argc, char** argv) {
  using namespace vtpm::gate_test;
  Arguments arguments;
  if (!parse_arguments({argv + 1, argv + argc}, arguments)) {
    fmt::print(stderr, "{}", kUsage);
    return 2;
  }
  const std::vector<const Case*> chosen = select(arguments);
  if (arguments.list) {
    for (const Case* one : chosen) {
      fmt::print("{}\t{}\n", one->expect == Expect::denied ? "denied" : "passes", title(*one));
    }
    return 0;
  }
  fmt::print("TAP version 14\n1..{}\n", chosen.size());
  vtpm::Result<Node> node = arguments.device.empty() ? Node::connect_socket(arguments.socket)
                                                     : Node::open_device(arguments.device);
  if (!node) {
    fmt::print("Bail out! {}\n", node.error().message);
    return 3;
  }
  return run_all(chosen, *node);
}
