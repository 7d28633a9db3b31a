// SPDX-License-Identifier: Apache-2.0
#include "device/sign_command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <utility>
#include <vector>

namespace vtpm::device {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kLongestWords = 300;  // of what the command says to people

tl::unexpected<Error> refuse(const std::string& why) {
  return fail(ErrorCode::unavailable, "the command of --ca-sign-command " + why,
              "vtpmd(8) says what it is given and what it has to answer");
}

// Nobody but root and this user may have a say in what is run: neither in the file nor in a folder
// above it. Symbolic links are followed first; where they lead is what is run.
Result<std::string> trusted_path(const std::string& path) {
  std::array<char, PATH_MAX> resolved{};
  if (::realpath(path.c_str(), resolved.data()) == nullptr)
    return refuse(fmt::format("cannot be found at {}", path));
  std::string real = resolved.data();
  std::size_t end = 0;
  for (bool last = false; !last; end = real.find('/', end + 1)) {
    last = end == std::string::npos;
    const std::string part = end == 0 ? "/" : real.substr(0, end);
    struct stat st{};
    if (::lstat(part.c_str(), &st) != 0) return refuse(fmt::format("cannot be found at {}", part));
    if (last ? !S_ISREG(st.st_mode) : !S_ISDIR(st.st_mode))
      return refuse(fmt::format("is no program: {}", part));
    if (st.st_uid != 0 && st.st_uid != ::geteuid())
      return refuse(fmt::format("is not trusted: {} belongs to user {}", part, st.st_uid));
    // In a folder like /tmp others can make files, and not replace ours.
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (last || (st.st_mode & S_ISVTX) == 0))
      return refuse(fmt::format("is not trusted: others may write {}", part));
  }
  return real;
}

// A file, so that the command may read it when and how it likes, and nobody has to feed it.
Result<UniqueFd> as_file(ByteView message) {
  UniqueFd file(::memfd_create("to be signed", MFD_CLOEXEC));
  if (!file) return fail_errno("cannot make a file in memory", errno);
  for (std::size_t done = 0; done < message.size();) {
    const ssize_t n = ::pwrite(file.get(), message.data() + done, message.size() - done,
                               static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail_errno("cannot write what is to be signed", errno);
    done += static_cast<std::size_t>(n);
  }
  return file;
}

struct Pipe {
  UniqueFd from, to;
  static Result<Pipe> make() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("cannot make a pipe", errno);
    Pipe made{UniqueFd(ends[0]), UniqueFd(ends[1])};
    (void)::fcntl(made.from.get(), F_SETFL, O_NONBLOCK);
    return made;
  }
};

// A process of a session of its own, with nothing of ours but three descriptors.
class Child {
 public:
  Child() = default;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  Child(Child&&) = delete;
  Child& operator=(Child&&) = delete;
  ~Child() {
    if (pid_ > 0) (void)end();
  }

  // 0, or an errno.
  int start(const std::string& path, std::vector<std::string> environment,
            const std::array<int, 3>& descriptors) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    if (const int err = ::posix_spawn_file_actions_init(&actions); err != 0) return err;
    if (const int err = ::posix_spawnattr_init(&attributes); err != 0) {
      ::posix_spawn_file_actions_destroy(&actions);
      return err;
    }
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int err = 0;
    const auto also = [&err](int outcome) { err = err != 0 ? err : outcome; };
    for (int i = 0; i < 3; i++)
      also(::posix_spawn_file_actions_adddup2(&actions, descriptors.at(i), i));
    also(::posix_spawn_file_actions_addclosefrom_np(&actions, 3));
    also(::posix_spawn_file_actions_addchdir_np(&actions, "/"));
    also(::posix_spawnattr_setsigmask(&attributes, &none));
    also(::posix_spawnattr_setsigdefault(&attributes, &all));
    also(::posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID));
    std::string name = path;
    const std::array<char*, 2> arguments{name.data(), nullptr};
    std::vector<char*> variables;
    variables.reserve(environment.size() + 1);
    for (std::string& one : environment) variables.push_back(one.data());
    variables.push_back(nullptr);
    if (err == 0)
      err = ::posix_spawn(&pid_, path.c_str(), &actions, &attributes, arguments.data(),
                          variables.data());
    if (err != 0) pid_ = -1;
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    return err;
  }
  [[nodiscard]] UniqueFd descriptor() const {
    return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  }
  // Dead, with what it started; its wait status.
  int end() {
    // Before it is waited for: so long the number of its session is nobody else's.
    (void)::kill(-pid_, SIGKILL);
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

 private:
  pid_t pid_ = -1;
};

// What is there to read now goes to `to`, which keeps at most `limit` bytes and one more.
void drain(UniqueFd& from, std::string& to, std::size_t limit) {
  std::array<char, 4096> part{};
  for (int turn = 0; from && turn < 16; turn++) {
    const ssize_t n = ::read(from.get(), part.data(), part.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return from.reset();
    to.append(part.data(), std::min(static_cast<std::size_t>(n), limit + 1 - to.size()));
  }
}

// One line that is fit for a log.
std::string as_line(std::string text) {
  text.resize(std::min(text.size(), kLongestWords));
  for (char& c : text)
    if (c < ' ' || c > '~') c = c == '\n' ? ' ' : '?';
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

}  // namespace

Result<std::unique_ptr<SignCommand>> SignCommand::make(std::string path,
                                                       std::chrono::milliseconds limit) {
  if (!path.empty() && !path.starts_with('/'))
    return fail(ErrorCode::invalid_argument, "--ca-sign-command wants an absolute path");
  UniqueFd ended(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!ended) return fail_errno("cannot make an event descriptor", errno);
  return std::unique_ptr<SignCommand>(new SignCommand(std::move(path), limit, std::move(ended)));
}

void SignCommand::end() { (void)::eventfd_write(ended_.get(), 1); }

Result<Bytes> SignCommand::sign(const identity::SigningRequest& request) const {
  if (path_.empty())
    return fail(ErrorCode::failed_precondition,
                "the key of the host's certificate authority is outside of vtpmd, and there is no "
                "command that signs with it",
                "start vtpmd with --ca-sign-command");
  VTPM_TRY(const std::string path, trusted_path(path_));
  VTPM_TRY(const UniqueFd input, as_file(request.message));
  VTPM_TRY(Pipe out, Pipe::make());
  VTPM_TRY(Pipe err, Pipe::make());
  Child child;
  const int failed =
      child.start(path,
                  {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                   fmt::format("VTPM_SIGN_WHAT={}", request.what),
                   "VTPM_SIGN_DIGEST=" + request.digest, "VTPM_SIGN_KEY=" + request.key},
                  {input.get(), out.to.get(), err.to.get()});
  if (failed != 0) return fail_errno("cannot run " + path, failed);
  out.to.reset();
  err.to.reset();
  const UniqueFd dead = child.descriptor();
  if (!dead) return fail_errno("cannot watch a process", errno);

  std::string signature, words;
  const Clock::time_point deadline = Clock::now() + limit_;
  // What it has written when it ends counts, whoever else holds the pipes.
  for (bool over = false; !over;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    std::array<pollfd, 4> ready{{{dead.get(), POLLIN, 0},
                                 {ended_.get(), POLLIN, 0},
                                 {out.from.get(), POLLIN, 0},
                                 {err.from.get(), POLLIN, 0}}};
    const int n = left <= 0 ? 0 : ::poll(ready.data(), ready.size(), static_cast<int>(left));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("cannot wait for a process", errno);
    if (n == 0) return refuse(fmt::format("did not answer within {} s", limit_.count() / 1000.0));
    if (ready[1].revents != 0) return fail(ErrorCode::unavailable, "vtpmd is stopping");
    over = ready[0].revents != 0;
    drain(out.from, signature, kLongestSignature);
    drain(err.from, words, kLongestWords);
    if (signature.size() > kLongestSignature) return refuse("writes more than a signature");
  }
  const int status = child.end();
  const std::string said = words.empty() ? "" : ": " + as_line(words);
  if (WIFSIGNALED(status))
    return refuse(fmt::format("died of signal {}{}", WTERMSIG(status), said));
  if (WEXITSTATUS(status) != 0)
    return refuse(fmt::format("failed with status {}{}", WEXITSTATUS(status), said));
  if (signature.empty()) return refuse("wrote no signature" + said);
  return to_bytes(as_bytes(signature));
}

}  // namespace vtpm::device
