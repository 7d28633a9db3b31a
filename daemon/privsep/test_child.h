// SPDX-License-Identifier: Apache-2.0
// For the tests of privsep/: what becomes of a child.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>

namespace vtpm::privsep::testing {

// What a child that does `work` ends with, as waitpid() tells it.
inline int status_of(const std::function<void()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    work();
    ::_exit(0);
  }
  int status = -1;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}
inline bool killed_by(int status, int signal) {
  return WIFSIGNALED(status) && WTERMSIG(status) == signal;
}
inline bool exited(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }

}  // namespace vtpm::privsep::testing
