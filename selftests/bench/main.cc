// SPDX-License-Identifier: Apache-2.0
// bench: how long a command takes at several TPMs and at a bare ping-pong, in turns.
//
//   bench [--rounds N] [--count N] [--command NAME] [--against NAME] [--json FILE] NAME=WHAT...
//
// The first one is the floor that the others are divided by. A round asks each of them --count
// times before the next round begins, so that a busy machine slows all of them down alike. WHAT:
// see subject.h. Exit status: 0 measured, 1 something failed or a reply was not right, 2 wrong use.
#include <getopt.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "commands.h"
#include "report.h"
#include "subject.h"

namespace bench {
namespace {

constexpr unsigned kHangSeconds = 120;  // for one round of one subject
constexpr int kWarmUp = 10;             // exchanges of a round that do not count

struct Options {
  int rounds = 10;
  int count = 300;
  std::string command;  // the only one to time; empty: all
  std::string against;
  std::string json;
};

struct Named {
  std::string name;
  std::unique_ptr<Subject> subject;
};

double microseconds_of(const Named& named, const Command& command) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  const auto reply = named.subject->exchange(command.request, command.reply_size);
  const double us = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
  if (reply.size() != command.reply_size || (named.subject->is_tpm() && code_of(reply) != 0))
    die(named.name + " answers " + command.name + " with " + std::to_string(reply.size()) +
        " bytes and response code " + std::to_string(code_of(reply)));
  return us;
}

// What PCR_Read answers, to see that PCR_Extend and GetRandom have done their work.
Bytes reply_to(const Named& named, const Command& command) {
  const auto reply = named.subject->exchange(command.request, command.reply_size);
  return {reply.begin(), reply.end()};
}

void check_effects(const Named& named, const std::vector<Command>& all) {
  if (!named.subject->is_tpm()) return;
  const Bytes before = reply_to(named, all[0]);
  if (reply_to(named, all[0]) != before) die(named.name + ": PCR_Read changes a PCR");
  if (code_of(reply_to(named, all[1])) != 0 || reply_to(named, all[0]) == before)
    die(named.name + ": PCR_Extend changes nothing");
  if (reply_to(named, all[2]) == reply_to(named, all[2]))
    die(named.name + ": GetRandom repeats itself");
}

std::vector<double> round_of(const Named& named, const Command& command, int count) {
  (void)::alarm(kHangSeconds);
  for (int i = 0; i < kWarmUp; ++i) (void)microseconds_of(named, command);
  std::vector<double> times(static_cast<std::size_t>(count));
  for (double& time : times) time = microseconds_of(named, command);
  (void)::alarm(0);
  return times;
}

std::vector<Comparison> measure(const std::vector<Named>& subjects, const Options& options) {
  const std::vector<Command> all = commands();
  for (const Named& named : subjects) {
    if (!named.subject->is_tpm()) continue;
    const std::uint32_t rc = code_of(named.subject->exchange(startup(), 10));
    if (rc != 0 && rc != kRcInitialize) die(named.name + " does not start");
    check_effects(named, all);
  }
  std::vector<Command> timed = all;
  std::erase_if(timed, [&options](const Command& command) {
    return !options.command.empty() && command.name != options.command;
  });
  if (timed.empty()) die("no command " + options.command);
  std::vector<Comparison> results;
  for (const Command& command : timed) {
    Comparison comparison{.command = command.name, .series = {}};
    for (const Named& named : subjects) comparison.series.push_back({named.name, {}});
    results.push_back(std::move(comparison));
  }
  for (int round = 0; round < options.rounds; ++round) {
    for (std::size_t c = 0; c < timed.size(); ++c) {
      for (std::size_t s = 0; s < subjects.size(); ++s)
        results[c].series[s].rounds.push_back(round_of(subjects[s], timed[c], options.count));
    }
  }
  for (const Named& named : subjects) check_effects(named, all);
  return results;
}

int usage() {
  (void)std::fputs(
      "usage: bench [--rounds N] [--count N] [--command NAME] [--against NAME] [--json FILE] "
      "NAME=WHAT...\n"
      "  WHAT: /dev/tpmN, the path of a unix socket, pipe: or unix:\n",
      stderr);
  return 2;
}

int run(int argc, char** argv) {
  const option long_options[] = {
      {"rounds", required_argument, nullptr, 'r'},  {"count", required_argument, nullptr, 'c'},
      {"command", required_argument, nullptr, 'o'}, {"against", required_argument, nullptr, 'a'},
      {"json", required_argument, nullptr, 'j'},    {nullptr, 0, nullptr, 0}};
  Options options;
  for (int option = 0; (option = ::getopt_long(argc, argv, "", long_options, nullptr)) != -1;) {
    switch (option) {
      case 'r': options.rounds = std::atoi(optarg); break;
      case 'c': options.count = std::atoi(optarg); break;
      case 'o': options.command = optarg; break;
      case 'a': options.against = optarg; break;
      case 'j': options.json = optarg; break;
      default: return usage();
    }
  }
  if (options.rounds < 1 || options.count < 1 || optind == argc) return usage();

  std::vector<Named> subjects;
  for (int i = optind; i < argc; ++i) {
    const std::string word = argv[i];
    const std::size_t equals = word.find('=');
    // The name goes into JSON as it is.
    if (equals == std::string::npos || word.find_first_of("\"\\") < equals) return usage();
    subjects.push_back({word.substr(0, equals), open_subject(word.substr(equals + 1))});
  }
  if (!options.against.empty() &&
      std::ranges::find(subjects, options.against, &Named::name) == subjects.end())
    return usage();

  const std::vector<Comparison> results = measure(subjects, options);
  print_table(stdout, results, options.against);
  if (std::fflush(stdout) != 0) die_errno("standard output");
  if (options.json.empty()) return 0;
  const auto close = [](std::FILE* f) { return std::fclose(f); };  // NOLINT(*-owning-memory)
  const std::unique_ptr<std::FILE, decltype(close)> file(std::fopen(options.json.c_str(), "w"),
                                                         close);
  if (file == nullptr) die_errno(options.json);
  print_json(file.get(), results, options.against);
  if (std::fflush(file.get()) != 0) die_errno(options.json);
  return 0;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  (void)std::signal(SIGPIPE, SIG_IGN);
  return bench::run(argc, argv);
}
