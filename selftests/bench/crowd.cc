// SPDX-License-Identifier: Apache-2.0
// Many devices at once.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <random>
#include <thread>
#include <utility>

#include "life.h"
#include "work.h"

namespace bench {
namespace {

void print_times(const std::vector<double>& times) {
  (void)std::fputs("\"each\": [", stdout);
  const char* comma = "";
  for (const double us : times) (void)std::printf("%s%.1f", std::exchange(comma, ", "), us);
  (void)std::puts("]}");
}

// One that was woken may have answered before vtpmd has heard that it is on.
void park(Manager& manager, const std::string& name) {
  while (manager.show(name).state() == v1::DETACHED)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  (void)manager.park(name);
}

}  // namespace

void storm(Manager& manager, const Crowd& crowd) {
  std::vector<double> each(static_cast<std::size_t>(crowd.devices));
  std::atomic<int> next{0};
  const auto client = [&] {
    for (int i = next++; i < crowd.devices; i = next++)
      each[static_cast<std::size_t>(i)] = microseconds([&] {
        auto request = request_for("storm-" + std::to_string(i), crowd.mode, crowd.node);
        request.set_start(true);
        (void)must(*open_device(manager.create(request)), pcr_read());
      });
  };
  const double all = microseconds([&] {
    std::vector<std::jthread> clients;
    clients.reserve(static_cast<std::size_t>(crowd.clients));
    for (int i = 0; i < crowd.clients; ++i) clients.emplace_back(client);
  });
  (void)std::printf("{\"seconds\": %.3f, ", all / 1e6);
  print_times(each);
}

void wakes(Manager& manager) {
  std::vector<v1::Device> devices;
  for (v1::Device& device : manager.list())
    if (device.node() == v1::KERNEL && !device.device_path().empty())
      devices.push_back(std::move(device));
  std::map<std::string, Bytes> held;
  for (const v1::Device& device : devices) {
    const auto open = open_device(device);
    (void)must(*open, pcr_extend());
    held[device.name()] = must(*open, pcr_read());
    park(manager, device.name());
  }
  std::ranges::shuffle(devices, std::mt19937(std::random_device()()));
  std::vector<double> each;
  for (const v1::Device& device : devices) {
    const auto open = open_device(device);
    Bytes reply;
    each.push_back(microseconds([&] { reply = must(*open, pcr_read()); }));
    if (reply != held[device.name()]) die(device.name() + " holds another PCR than before");
  }
  (void)std::fputc('{', stdout);
  print_times(each);
}

}  // namespace bench
