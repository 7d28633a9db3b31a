// SPDX-License-Identifier: Apache-2.0
// vtpmctl: the person's tool for vTPM devices.
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <clocale>
#include <cstdlib>
#include <iostream>

#include "cli.h"

namespace {

vtpm::ctl::Environment real_environment() {
  vtpm::ctl::Environment environment{std::cin, std::cout, std::cerr};
  environment.in_is_terminal = ::isatty(STDIN_FILENO) == 1;
  environment.out_is_terminal = ::isatty(STDOUT_FILENO) == 1;
  environment.err_is_terminal = ::isatty(STDERR_FILENO) == 1;
  if (winsize size{};
      environment.out_is_terminal && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
    environment.columns = size.ws_col;
  }
  for (const char* name : {"VTPM_SOCKET", "NO_COLOR", "TERM"}) {
    if (const char* value = std::getenv(name); value != nullptr) {
      environment.variables[name] = value;
    }
  }
  if (utsname system{}; ::uname(&system) == 0) environment.kernel_release = system.release;
  return environment;
}

}  // namespace

int main(int argc, char** argv) {
  (void)std::setlocale(LC_CTYPE, "");           // for the width of characters
  (void)::setenv("GRPC_VERBOSITY", "NONE", 0);  // errors are told once, by us
  vtpm::ctl::Environment environment = real_environment();
  return static_cast<int>(vtpm::ctl::run({argv + 1, argv + argc}, environment));
}
