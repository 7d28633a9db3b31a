// SPDX-License-Identifier: Apache-2.0
// The parts of the program, each of which measures and prints one JSON object on standard output.
// main.cc has their options. What they print are times and counts as they were; figures are made of
// them in figures.py.
#pragma once

#include <string>
#include <vector>

namespace bench {

struct Named {
  std::string name;
  std::vector<std::string> subjects;  // open_subject()'s words
};

struct Options {
  int rounds = 10;
  int count = 300;     // commands of a round and subject (latency)
  double seconds = 1;  // of a round (throughput, pace)
  double rate = 1;     // commands a second of each subject (pace)
  std::vector<std::string> works;
  std::vector<Named> named;
};

// How long one command takes at each subject, the first of a name. A round asks each --count times
// before the next round begins, so that a busy machine slows all of them down alike.
void latency(const Options& options);

// How many commands all subjects of a name answer in a second, each to a process of its own, at
// once; the names in turns.
void throughput(const Options& options);

// How much time the machine's processors are busy while one client gives each subject of a name a
// command at --rate; the names in turns.
void pace(const Options& options);

// {"name": [[1.25, …], …], …}: of each name the rounds.
void print_rounds(const std::vector<Named>& named,
                  const std::vector<std::vector<std::vector<double>>>& values);

}  // namespace bench
