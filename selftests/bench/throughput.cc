// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "program.h"
#include "subject.h"
#include "work.h"

namespace bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr useconds_t kLook = 1000;
constexpr std::chrono::seconds kPatience{300};  // for all clients to be ready, or to end

// What clients share with who counts them.
struct Board {
  std::atomic<unsigned> ready{0};
  std::atomic<bool> go{false};
  std::atomic<bool> stop{false};
  std::atomic<unsigned> refused{0};
  std::atomic<unsigned long> answered{0};
};
static_assert(std::atomic<unsigned long>::is_always_lock_free);

Board& new_board() {
  void* map =
      ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) die_errno("shared memory");
  return *new (map) Board;
}

[[noreturn]] void client(const std::string& what, const std::string& work_name, Board& board) {
  const auto subject = open_subject(what);
  const auto work = make_work(work_name);
  if (subject->is_tpm()) start(*subject);
  const bool takes_it = !subject->is_tpm() || work->prepare(*subject);
  if (!takes_it) ++board.refused;
  ++board.ready;
  while (!board.go) (void)::usleep(kLook);
  unsigned long answered = 0;
  while (takes_it && !board.stop) {
    const ByteView reply = subject->exchange(work->request(), work->reply_size());
    if (subject->is_tpm() && !work->accept(reply))
      die(fmt::format("{}: a reply to {}", what, work_name));
    ++answered;
  }
  board.answered += answered;
  if (takes_it && subject->is_tpm()) work->finish(*subject);
  std::exit(0);
}

// Commands a second; none if the subjects refuse this work.
std::vector<double> round_of(const Named& named, const std::string& work, double seconds) {
  Board& board = new_board();
  std::vector<pid_t> clients;
  (void)std::fflush(stdout);
  for (const std::string& what : named.subjects) {
    const pid_t pid = ::fork();
    if (pid < 0) die_errno("fork");
    if (pid == 0) client(what, work, board);
    clients.push_back(pid);
  }
  const auto wait = [&](auto&& condition) {
    const auto late = Clock::now() + kPatience;
    while (!condition()) {
      int status = 0;
      if (::waitpid(-1, &status, WNOHANG) > 0) die(named.name + ": a client has ended too early");
      if (Clock::now() > late) die(named.name + ": clients hang");
      (void)::usleep(kLook);
    }
  };
  wait([&] { return board.ready == clients.size(); });
  const Clock::time_point start = Clock::now();
  board.go = true;
  wait([&] { return Clock::now() - start > std::chrono::duration<double>(seconds); });
  board.stop = true;
  const double took = std::chrono::duration<double>(Clock::now() - start).count();
  for (const pid_t pid : clients) {
    int status = 0;
    if (::waitpid(pid, &status, 0) != pid || status != 0) die(named.name + ": a client has failed");
  }
  const bool refused = board.refused != 0;
  const auto answered = static_cast<double>(board.answered.load());
  (void)::munmap(&board, sizeof(Board));
  if (refused) return {};
  return {answered / took};
}

}  // namespace

void throughput(const Options& options) {
  const char* next = "{";
  for (const std::string& work : options.works) {
    std::vector<std::vector<std::vector<double>>> rates(options.named.size());
    for (int round = 0; round < options.rounds; ++round)
      for (std::size_t i = 0; i < options.named.size(); ++i)
        if (auto rate = round_of(options.named[i], work, options.seconds); !rate.empty())
          rates[i].push_back(std::move(rate));
    (void)std::printf("%s\"%s\": ", next, work.c_str());
    print_rounds(options.named, rates);
    next = ",\n";
  }
  (void)std::puts("}");
}

}  // namespace bench
