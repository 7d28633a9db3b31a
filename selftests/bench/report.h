// SPDX-License-Identifier: Apache-2.0
// Times into figures, figures into a table and JSON.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

namespace bench {

struct Figures {  // microseconds
  double median = 0;
  double p10 = 0;  // what the machine does when nothing disturbs it
  double p99 = 0;
  double min = 0;
  double mean = 0;
};

Figures figures_of(std::vector<double> times);

// All times of one subject at one command, round by round.
struct Series {
  std::string subject;
  std::vector<std::vector<double>> rounds;  // microseconds
};

struct Comparison {
  std::string command;
  std::vector<Series> series;  // the first one is the floor
};

// How many times the floor's the subject's median is, in the whole run and in the middle half of
// its rounds: how far these are apart is the noise of the machine.
struct Ratio {
  double all = 0;
  double lower_quartile = 0;
  double upper_quartile = 0;
  double p10 = 0;  // of the two tenth percentiles
};

Ratio ratio(const Series& subject, const Series& floor);

// A second run of the floor, named FLOOR-again, is the control: if it differs from the first, the
// machine was too busy for a ratio to mean anything, and the table says so.
// `against`: name of the subject that the others shall beat; empty: none.
void print_table(std::FILE* out, const std::vector<Comparison>& results,
                 const std::string& against);
void print_json(std::FILE* out, const std::vector<Comparison>& results, const std::string& against);

}  // namespace bench
