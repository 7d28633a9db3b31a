// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <thread>

#include "program.h"
#include "subject.h"
#include "work.h"

namespace bench {
namespace {

using Clock = std::chrono::steady_clock;

// For how long tasks ran, on all processors, in seconds: the seventh figure of each "cpu" line
// (Documentation/scheduler/sched-stats.rst in the kernel). Exact, where /proc/stat counts ticks.
double busy_seconds() {
  std::ifstream file("/proc/schedstat");
  double nanoseconds = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream in(line);
    std::string word;
    double value = 0;
    if (!(in >> word) || !word.starts_with("cpu")) continue;
    for (int i = 0; i < 7 && in >> value; ++i) continue;
    nanoseconds += value;
  }
  if (nanoseconds <= 0) die("/proc/schedstat does not say for how long tasks ran");
  return nanoseconds / 1e9;
}

double round_of(const Named& named, Work& work, const Options& options) {
  std::vector<std::unique_ptr<Subject>> subjects;
  for (const std::string& what : named.subjects) {
    subjects.push_back(open_subject(what));
    start(*subjects.back());
    if (!work.prepare(*subjects.back())) die(what + " refuses " + work.name());
  }
  const std::chrono::duration<double> pause(1 /
                                            (options.rate * static_cast<double>(subjects.size())));
  const double before = busy_seconds();
  const Clock::time_point first = Clock::now();
  const auto commands =
      static_cast<int>(options.seconds * options.rate * static_cast<double>(subjects.size()));
  for (int i = 0; i < commands; ++i) {
    std::this_thread::sleep_until(first + std::chrono::duration_cast<Clock::duration>(i * pause));
    Subject& subject = *subjects[static_cast<std::size_t>(i) % subjects.size()];
    if (!work.accept(subject.exchange(work.request(), work.reply_size())))
      die(named.name + ": a reply to " + work.name());
  }
  const double took = std::chrono::duration<double>(Clock::now() - first).count();
  return (busy_seconds() - before) / took;
}

}  // namespace

void pace(const Options& options) {
  const char* next = "{";
  for (const std::string& name : options.works) {
    std::vector<std::vector<std::vector<double>>> busy(options.named.size());
    for (int round = 0; round < options.rounds; ++round)
      for (std::size_t i = 0; i < options.named.size(); ++i)
        busy[i].push_back({1000 * round_of(options.named[i], *make_work(name), options)});
    (void)std::printf("%s\"%s\": ", next, name.c_str());
    print_rounds(options.named, busy);
    next = ",\n";
  }
  (void)std::puts("}");
}

}  // namespace bench
