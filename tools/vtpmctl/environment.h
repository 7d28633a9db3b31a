// SPDX-License-Identifier: Apache-2.0
// Environment: all that vtpmctl takes from the world around it, so that a test can be that world.
// Exit, Failure, Outcome: how an invocation ends. Used from one thread.
#pragma once

#include <chrono>
#include <filesystem>
#include <iosfwd>
#include <map>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace vtpm::ctl {

// Part of the interface (vtpmctl(1), EXIT STATUS): scripts rely on the numbers.
enum class Exit : int {
  ok = 0,
  failed = 1,       // the operation failed, or its outcome is not known
  usage = 2,        // the command line is wrong; the same line never succeeds
  not_found = 3,    // no such device
  conflict = 4,     // the name is taken, or the device is in the wrong state
  permission = 5,   // this user may not
  unreachable = 6,  // vtpmd is not there; nothing was done
  unhealthy = 7,    // doctor found a failure
  refused = 8,      // explain was given a frame that the policy refuses
  // verify: identity::Step, in its order, from here on: 10 chain, 11 revocation, 12 log, 13 family,
  // 14 generation, 15 live
  rejected = 10,
};

struct Failure {
  Exit exit = Exit::failed;
  std::string message;  // what went wrong; may hold text of the server, escaped when shown
  std::string hint;     // what to do about it; may be empty
};

template <class T>
using Outcome = tl::expected<T, Failure>;

[[nodiscard]] inline tl::unexpected<Failure> failure(Exit exit, std::string message,
                                                     std::string hint = {}) {
  return tl::unexpected<Failure>(Failure{exit, std::move(message), std::move(hint)});
}

struct Environment {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool in_is_terminal = false;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  unsigned columns = 0;  // width of the terminal behind out; 0 = not known, nothing is cut
  std::map<std::string, std::string, std::less<>> variables = {};  // VTPM_SOCKET, NO_COLOR, TERM
  std::filesystem::path run_dir = "/run/vtpm";                     // of vtpmd's sockets
  std::filesystem::path root = "/";  // where doctor finds dev, sys, boot, lib and usr
  std::string kernel_release = {};   // as uname -r says
  std::chrono::milliseconds call_timeout{120'000};  // a start waits for the kernel's registration
  std::chrono::milliseconds doctor_timeout{5'000};  // a sick vtpmd must not hang its doctor

  // Empty if not set.
  [[nodiscard]] std::string variable(std::string_view name) const {
    const auto found = variables.find(name);
    return found == variables.end() ? std::string() : found->second;
  }
};

}  // namespace vtpm::ctl
