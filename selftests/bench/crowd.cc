// SPDX-License-Identifier: Apache-2.0
// Many devices at once.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <random>
#include <thread>
#include <utility>

#include "life.h"
#include "work.h"

namespace bench {

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
  print_times("each", each);
  (void)std::puts("}");
}

void wakes(Manager& manager) {
  std::vector<v1::Device> devices;
  for (v1::Device& device : manager.list())
    if (device.state() == v1::ON || device.state() == v1::DETACHED)
      devices.push_back(std::move(device));
  std::map<std::string, Bytes> held;
  for (const v1::Device& device : devices) {
    auto open = open_device(device);
    (void)must(*open, pcr_extend());
    held[device.name()] = must(*open, pcr_read());
    open.reset();
    (void)manager.park(device.name());
  }
  std::ranges::shuffle(devices, std::mt19937(std::random_device()()));
  std::vector<double> each;
  for (const v1::Device& device : devices) {
    std::unique_ptr<Subject> open;
    if (device.node() == v1::KERNEL) open = open_device(device);
    Bytes reply;
    each.push_back(microseconds([&] {
      if (!open) open = open_device(device);
      reply = must(*open, pcr_read());
    }));
    if (reply != held[device.name()]) die(device.name() + " holds another PCR than before");
  }
  (void)std::fputc('{', stdout);
  print_times("each", each);
  (void)std::puts("}");
}

}  // namespace bench
