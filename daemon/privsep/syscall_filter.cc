// SPDX-License-Identifier: Apache-2.0
// The system calls of a worker that serves.
#include <fcntl.h>
#include <linux/seccomp.h>
#include <linux/vtpm.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "privsep/sandbox.h"
#include "privsep/syscall_rules.h"

namespace vtpm::privsep {
namespace {

void allow_node(SyscallRules& rules, NodeKind node) {
  if (node == NodeKind::kernel) {
    // All of its traffic: the last reply out, the next frame in.
    rules.allow(SCMP_SYS(ioctl), is(1, VTPM_IOC_XCHG));
    return;
  }
  rules.allow(SCMP_SYS(poll));
  rules.allow(SCMP_SYS(ppoll));  // poll() where the architecture has no call of that name
  rules.allow(
      SCMP_SYS(restart_syscall));  // what a wait goes on by after SIGSTOP, a freeze, a trace
  // Frames and requests of the control channel. There is no connect() and no socket(), so these
  // reach peers who came by themselves.
  rules.allow(SCMP_SYS(recvfrom));
  rules.allow(SCMP_SYS(sendto));
  rules.allow(SCMP_SYS(accept4), is(3, SOCK_CLOEXEC));
  rules.allow(SCMP_SYS(getsockopt));  // of what sort is a socket that was passed (CMD_SET_DATAFD)
}

void allow_manager(SyscallRules& rules) {
  rules.allow(SCMP_SYS(sendmsg));
  rules.allow(SCMP_SYS(recvmsg));  // the control channel of a socket node uses it too
  rules.allow(SCMP_SYS(close));
}

void allow_engine(SyscallRules& rules) {
  rules.allow(SCMP_SYS(getrandom));
  // libtpms' clock, and the jitter that OpenSSL stirs into its generator. They enter the kernel
  // for CLOCK_PROCESS_CPUTIME_ID, and always where the vDSO has no clock.
  rules.allow(SCMP_SYS(clock_gettime));
  rules.allow(SCMP_SYS(gettimeofday));
  rules.allow(SCMP_SYS(time));
  rules.allow(SCMP_SYS(getpid));  // OpenSSL asks whether it was forked
  rules.allow(SCMP_SYS(futex));   // pthread_once() wakes waiters, though there are none
}

// malloc(). No memory that can be executed, and no file: the journal is mapped already.
void allow_memory(SyscallRules& rules) {
  rules.allow(SCMP_SYS(brk));
  rules.allow(SCMP_SYS(mmap), has_not(2, PROT_EXEC), has(3, MAP_ANONYMOUS));
  rules.allow(SCMP_SYS(mprotect), has_not(2, PROT_EXEC));
  rules.allow(SCMP_SYS(mremap));
  rules.allow(SCMP_SYS(munmap));
  rules.allow(SCMP_SYS(madvise));
}

// Stands for the worker's PID in a filter that is compiled before there is a worker. No PID, size
// or flag of ours is that great.
constexpr std::uint32_t kAnyWorker = 0x7e57'f11e;

void allow_log_and_end(SyscallRules& rules) {
  rules.allow(SCMP_SYS(write), is(0, STDERR_FILENO));
  rules.allow(SCMP_SYS(writev), is(0, STDERR_FILENO));  // the last words of glibc's own checks
  // The log asks what stderr is. The fork server has asked for its workers; one that was started
  // otherwise takes stderr for a plain file.
  rules.refuse(SCMP_SYS(newfstatat), EACCES);
  rules.refuse(SCMP_SYS(fstat), EACCES);
  rules.allow(SCMP_SYS(exit_group));
  // abort(): a crash is told from a kill by its signal.
  rules.allow(SCMP_SYS(rt_sigprocmask));
  rules.allow(SCMP_SYS(gettid));
  rules.allow(SCMP_SYS(tgkill), is(0, kAnyWorker), is(2, SIGABRT));
}

Result<FilterProgram> compile(NodeKind node) {
  SyscallRules rules;
  allow_serving(rules, node);
  allow_log_and_end(rules);
  // The kernel remembers which calls pass whatever their arguments are, and runs the filter for the
  // others only (since 5.11). Of these ioctl() alone is frequent: so a list with it on top is
  // better than a balanced tree.
  rules.is_frequent(SCMP_SYS(ioctl));
  return rules.compile();
}

// Compiled once: libseccomp takes half a millisecond for it, and 160 KiB of a worker's memory.
const Result<FilterProgram>& program_for(NodeKind node) {
  static const Result<FilterProgram> kernel = compile(NodeKind::kernel);
  static const Result<FilterProgram> socket = compile(NodeKind::socket);
  return node == NodeKind::kernel ? kernel : socket;
}

}  // namespace

Result<FilterProgram> SyscallRules::compile() {
  if (error_ != 0) return fail_errno("cannot make a filter of system calls", error_);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
    return fail_errno("cannot make a pipe for a filter of system calls", errno);
  const UniqueFd out(ends[0]);
  const UniqueFd in(ends[1]);
  // The longest filter, BPF_MAXINSNS, is half of what a pipe holds.
  if (const int error = ::seccomp_export_bpf(filter_.get(), in.get()); error != 0)
    return fail_errno("cannot compile a filter of system calls", -error);
  FilterProgram program(BPF_MAXINSNS);
  const ssize_t size = ::read(out.get(), program.data(), program.size() * sizeof(sock_filter));
  if (size <= 0 || static_cast<std::size_t>(size) % sizeof(sock_filter) != 0)
    return fail(ErrorCode::internal, "a filter of system calls is cut short");
  program.resize(static_cast<std::size_t>(size) / sizeof(sock_filter));
  return program;
}

Result<void> load_filter(const FilterProgram& program) {
  // The kernel reads it only.
  const sock_fprog filter{static_cast<unsigned short>(program.size()),
                          const_cast<sock_filter*>(program.data())};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return fail_errno("cannot give up new privileges", errno);
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0)
    return fail_errno("cannot load the filter of system calls", errno,
                      "the kernel needs CONFIG_SECCOMP_FILTER");
  return {};
}

void allow_serving(SyscallRules& rules, NodeKind node) {
  allow_node(rules, node);
  allow_manager(rules);
  allow_engine(rules);
  allow_memory(rules);
}

Result<void> prepare_filters() {
  if (kSanitized) return {};
  for (const NodeKind node : {NodeKind::kernel, NodeKind::socket})
    if (const auto& program = program_for(node); !program)
      return tl::unexpected<Error>(program.error());
  if (const auto& program = server_program(); !program)
    return tl::unexpected<Error>(program.error());
  return {};
}

Result<void> enter_sandbox(NodeKind node) {
  if (kSanitized) return {};
  const auto& compiled = program_for(node);
  if (!compiled) return tl::unexpected<Error>(compiled.error());
  FilterProgram program = *compiled;
  std::size_t places = 0;
  for (sock_filter& step : program) {
    if (step.code != (BPF_JMP | BPF_JEQ | BPF_K) || step.k != kAnyWorker) continue;
    step.k = static_cast<std::uint32_t>(::getpid());
    places++;
  }
  if (places != 1)
    return fail(ErrorCode::internal, "the filter of system calls does not name its worker once");
  return load_filter(program);
}

}  // namespace vtpm::privsep
