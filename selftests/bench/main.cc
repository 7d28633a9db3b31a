// SPDX-License-Identifier: Apache-2.0
// bench PART [OPTIONS] NAME=WHAT[,WHAT...]...: see program.h for the parts, subject.h for WHAT.
//
//   --rounds N, --count N, --seconds S, --rate R, --work NAME (again for more; all if not given)
//
// WHAT*N stands for N times WHAT, @FILE for the lines of a file. Exit status: 0 measured, 1
// something failed or a reply was not right, 2 wrong use.
#include <getopt.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "program.h"
#include "subject.h"
#include "work.h"

namespace bench {
namespace {

using Part = void (*)(const Options&);
const std::map<std::string, Part>& parts() {
  static const std::map<std::string, Part> all{
      {"latency", latency}, {"throughput", throughput}, {"pace", pace}};
  return all;
}

int usage() {
  (void)std::fputs(
      "usage: bench latency|throughput|pace [--rounds N] [--count N] [--seconds S] [--rate R]\n"
      "             [--work NAME]... NAME=WHAT[,WHAT...]...\n"
      "  WHAT: /dev/tpmN, the path of a unix socket, pipe:, unix:, libtpms: or libtpms-pipe:;\n"
      "        WHAT*N for N of them, @FILE for the lines of a file\n"
      "  works:",
      stderr);
  for (const std::string& name : works()) (void)std::fprintf(stderr, " %s", name.c_str());
  (void)std::fputc('\n', stderr);
  return 2;
}

std::vector<std::string> subjects_of(const std::string& words) {
  std::vector<std::string> subjects;
  std::istringstream in(words);
  for (std::string word; std::getline(in, word, ',');) {
    if (word.starts_with('@')) {
      std::ifstream file(word.substr(1));
      if (!file) die("cannot read " + word.substr(1));
      for (std::string line; std::getline(file, line);) subjects.push_back(line);
      continue;
    }
    const std::size_t star = word.find('*');
    const int times = star == std::string::npos ? 1 : std::atoi(word.c_str() + star + 1);
    subjects.insert(subjects.end(), static_cast<std::size_t>(std::max(times, 0)),
                    word.substr(0, star));
  }
  return subjects;
}

int run(int argc, char** argv) {
  const option long_options[] = {
      {"rounds", required_argument, nullptr, 'r'},  {"count", required_argument, nullptr, 'c'},
      {"seconds", required_argument, nullptr, 's'}, {"rate", required_argument, nullptr, 'p'},
      {"work", required_argument, nullptr, 'w'},    {nullptr, 0, nullptr, 0}};
  Options options;
  for (int option = 0; (option = ::getopt_long(argc, argv, "", long_options, nullptr)) != -1;) {
    switch (option) {
      case 'r': options.rounds = std::atoi(optarg); break;
      case 'c': options.count = std::atoi(optarg); break;
      case 's': options.seconds = std::atof(optarg); break;
      case 'p': options.rate = std::atof(optarg); break;
      case 'w': options.works.emplace_back(optarg); break;
      default: return usage();
    }
  }
  if (options.rounds < 1 || options.count < 1 || !(options.seconds > 0) || !(options.rate > 0) ||
      argc - optind < 2)
    return usage();
  const auto part = parts().find(argv[optind++]);
  if (part == parts().end()) return usage();
  if (options.works.empty()) options.works = works();
  for (int i = optind; i < argc; ++i) {
    const std::string word = argv[i];
    const std::size_t equals = word.find('=');
    // The name goes into JSON as it is.
    if (equals == std::string::npos || word.find_first_of("\"\\") < equals) return usage();
    Named named{word.substr(0, equals), subjects_of(word.substr(equals + 1))};
    if (named.subjects.empty()) return usage();
    options.named.push_back(std::move(named));
  }
  part->second(options);
  if (std::fflush(stdout) != 0) die_errno("standard output");
  return 0;
}

}  // namespace

void print_rounds(const std::vector<Named>& named,
                  const std::vector<std::vector<std::vector<double>>>& values) {
  const char* next = "";
  (void)std::fputc('{', stdout);
  for (std::size_t i = 0; i < named.size(); ++i) {
    if (values[i].empty()) continue;
    (void)std::printf("%s\n \"%s\": [", next, named[i].name.c_str());
    next = ",";
    for (std::size_t round = 0; round < values[i].size(); ++round) {
      (void)std::fputs(round == 0 ? "[" : ", [", stdout);
      for (std::size_t k = 0; k < values[i][round].size(); ++k)
        (void)std::printf(k == 0 ? "%.2f" : ", %.2f", values[i][round][k]);
      (void)std::fputc(']', stdout);
    }
    (void)std::fputc(']', stdout);
  }
  (void)std::fputc('}', stdout);
}

}  // namespace bench

int main(int argc, char** argv) {
  (void)std::signal(SIGPIPE, SIG_IGN);
  return bench::run(argc, argv);
}
