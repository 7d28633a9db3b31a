// SPDX-License-Identifier: Apache-2.0
// A device that is cloned while it is used: how long its client waits for it.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include "life.h"
#include "work.h"

namespace bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kQuiet{1};
constexpr std::chrono::milliseconds kRest{20};  // between two clones

struct Span {
  Clock::time_point begin, end;
  [[nodiscard]] double us() const {
    return std::chrono::duration<double, std::micro>(end - begin).count();
  }
};

Span span(const std::function<void()>& act) {
  Span span{Clock::now(), {}};
  act();
  span.end = Clock::now();
  return span;
}

double slowest(const std::vector<Span>& commands, const Span& during) {
  double most = 0;
  for (const Span& command : commands)
    if (command.begin < during.end && during.begin < command.end)
      most = std::max(most, command.us());
  return most;
}

std::string name_of(int clone) { return "cloned-" + std::to_string(clone); }

}  // namespace

void clones(Manager& manager, const Crowd& crowd) {
  const std::string source = "cloned";
  auto request = request_for(source, crowd.mode, crowd.node);
  request.set_start(true);
  const v1::Device device = manager.create(request);

  std::vector<Span> commands;
  std::vector<Span> made;
  std::atomic<bool> over{false};
  std::jthread client([&] {
    const auto open = open_device(device);
    while (!over) commands.push_back(span([&] { (void)must(*open, pcr_extend()); }));
  });
  std::this_thread::sleep_for(kQuiet);
  for (int i = 0; i < crowd.devices; ++i) {
    const auto clone = clone_request_for(source, name_of(i), crowd.mode);
    made.push_back(span([&] { (void)manager.clone(clone); }));
    std::this_thread::sleep_for(kRest);
  }
  over = true;
  client.join();
  if (made.empty() || commands.empty()) die("nothing was cloned, or its client was never answered");

  std::vector<double> quiet, pauses, each;
  for (const Span& command : commands)
    if (command.end < made.front().begin) quiet.push_back(command.us());
  for (const Span& one : made) {
    pauses.push_back(slowest(commands, one));
    each.push_back(one.us());
  }
  (void)std::fputc('{', stdout);
  print_times("quiet", quiet);
  (void)std::fputs(", ", stdout);
  print_times("pause", pauses);
  (void)std::fputs(", ", stdout);
  print_times("clone", each);
  (void)std::puts("}");
  for (int i = -1; i < crowd.devices; ++i) {
    const std::string name = i < 0 ? source : name_of(i);
    manager.stop(name);
    manager.remove(name);
  }
}

}  // namespace bench
