// SPDX-License-Identifier: Apache-2.0
// A list of system calls that are let through; any other kills the process.
#pragma once

#include <linux/filter.h>
#include <seccomp.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "privsep/messages.h"

namespace vtpm::privsep {

// What the kernel takes for a filter.
using FilterProgram = std::vector<sock_filter>;
// From here on, for this process and all that it becomes or forks.
Result<void> load_filter(const FilterProgram& program);

// Adds rules until one fails, which compile() tells. A call that this architecture does not have is
// no failure.
class SyscallRules {
 public:
  // Calls of another architecture (32-bit, x32) are no way around it.
  SyscallRules() : filter_(::seccomp_init(SCMP_ACT_KILL_PROCESS)) {
    if (!filter_)
      error_ = ENOMEM;
    else
      note(::seccomp_attr_set(filter_.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS));
  }
  template <class... Condition>
  void allow(int call, Condition... condition) {
    add(SCMP_ACT_ALLOW, call, condition...);
  }
  // It fails with this errno, and its caller does without.
  void refuse(int call, std::uint16_t error) { add(SCMP_ACT_ERRNO(error), call); }
  // To be looked for first.
  void is_frequent(int call) {
    if (error_ == 0) note(::seccomp_syscall_priority(filter_.get(), call, 255));
  }
  Result<FilterProgram> compile();

 private:
  template <class... Condition>
  void add(std::uint32_t action, int call, Condition... condition) {
    if (error_ == 0)
      note(::seccomp_rule_add(filter_.get(), action, call, sizeof...(condition), condition...));
  }
  void note(int result) {
    if (error_ == 0) error_ = -result;
  }

  struct Release {
    void operator()(void* filter) const { ::seccomp_release(filter); }
  };
  std::unique_ptr<void, Release> filter_;
  int error_ = 0;
};

// Conditions on an argument, counted from 0.
inline scmp_arg_cmp is(unsigned argument, std::uint64_t value) {
  return {argument, SCMP_CMP_EQ, value, 0};
}
inline scmp_arg_cmp at_least(unsigned argument, std::uint64_t value) {
  return {argument, SCMP_CMP_GE, value, 0};
}
inline scmp_arg_cmp has(unsigned argument, std::uint64_t bits) {
  return {argument, SCMP_CMP_MASKED_EQ, bits, bits};
}
inline scmp_arg_cmp has_not(unsigned argument, std::uint64_t bits) {
  return {argument, SCMP_CMP_MASKED_EQ, bits, 0};
}

// What a worker that serves needs, but for its log and its end.
void allow_serving(SyscallRules& rules, NodeKind node);

// The fork server's, compiled once.
const Result<FilterProgram>& server_program();

}  // namespace vtpm::privsep
