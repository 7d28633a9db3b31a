// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "program.h"
#include "subject.h"
#include "work.h"

namespace bench {
namespace {

constexpr unsigned kHangSeconds = 120;  // for one round of one subject
constexpr int kWarmUp = 10;             // exchanges of a round that do not count

double microseconds_of(const std::string& name, Subject& subject, Work& work) {
  using Clock = std::chrono::steady_clock;
  const Bytes& request = work.request();
  const Clock::time_point start = Clock::now();
  const ByteView reply = subject.exchange(request, work.reply_size());
  const double us = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
  if (subject.is_tpm() && !work.accept(reply))
    die(name + " answers " + work.name() + " with " + vtpm::to_hex(reply));
  return us;
}

std::vector<double> round_of(const std::string& name, Subject& subject, Work& work, int count) {
  (void)::alarm(kHangSeconds);
  for (int i = 0; i < kWarmUp; ++i) (void)microseconds_of(name, subject, work);
  std::vector<double> times(static_cast<std::size_t>(count));
  for (double& time : times) time = microseconds_of(name, subject, work);
  (void)::alarm(0);
  return times;
}

}  // namespace

void latency(const Options& options) {
  std::vector<std::unique_ptr<Subject>> subjects(options.named.size());
  // A libtpms in this process comes last: who is forked after it cannot have one of its own.
  for (const bool in_process : {false, true}) {
    for (std::size_t i = 0; i < subjects.size(); ++i) {
      const std::string& what = options.named[i].subjects.front();
      if ((what == "libtpms:") != in_process) continue;
      subjects[i] = open_subject(what);
      if (subjects[i]->is_tpm()) start(*subjects[i]);
    }
  }
  const char* next = "{";
  for (const std::string& name : options.works) {
    std::vector<std::unique_ptr<Work>> works;  // null: this subject refuses it
    for (const auto& subject : subjects) {
      works.push_back(make_work(name));
      if (subject->is_tpm() && !works.back()->prepare(*subject)) works.back().reset();
    }
    std::vector<std::vector<std::vector<double>>> times(subjects.size());
    for (int round = 0; round < options.rounds; ++round)
      for (std::size_t i = 0; i < subjects.size(); ++i)
        if (works[i])
          times[i].push_back(
              round_of(options.named[i].name, *subjects[i], *works[i], options.count));
    for (std::size_t i = 0; i < subjects.size(); ++i)
      if (works[i] && subjects[i]->is_tpm()) works[i]->finish(*subjects[i]);
    (void)std::printf("%s\"%s\": ", next, name.c_str());
    print_rounds(options.named, times);
    next = ",\n";
  }
  (void)std::puts("}");
}

}  // namespace bench
