// SPDX-License-Identifier: Apache-2.0
// What the API shows of a device: a copy, safe to hand to any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/uuid.h"
#include "device/kernel_control.h"
#include "privsep/messages.h"
#include "store/store.h"

namespace vtpm::device {

// off -> starting -> on -> stopping -> off. parked: on for its clients, without a worker until the
// next command. detached: on for its clients, while a new worker takes
// over. failed: its volatile state is lost or it keeps crashing, and a worker without a state
// answers TPM_RC_FAILURE; power-cycle or stop mends it.
enum class Phase : std::uint8_t { off, starting, on, parked, detached, stopping, failed };
std::string_view to_string(Phase phase);

inline bool is_read_only(const store::Settings& settings) {
  return settings.mode == static_cast<std::uint8_t>(privsep::DeviceMode::read_only);
}
inline bool is_on_socket(const store::Settings& settings) {
  return settings.node == static_cast<std::uint8_t>(privsep::NodeKind::socket);
}

struct View {
  Uuid uuid;
  store::Settings settings;
  store::Version version;
  std::uint64_t taken_us = 0;  // of a snapshot: store::Record
  Phase phase = Phase::off;
  std::string failure;
  std::string waits_for;  // what keeps it from going on, or from being powered on; empty = nothing
  bool has_identity = false;
  bool has_node = false;  // `node` or `socket_path` can be used by clients now
  KernelNode node;
  std::string socket_path;
  std::uint64_t sequence = 0;
  int worker_pid = 0;
  std::uint64_t denied = 0;
  std::uint64_t restarts = 0;
  std::uint64_t throttled = 0;  // permanent writes that had to wait
  std::uint64_t wakes = 0;
  std::string event_log;  // path; empty: nothing was measured
};

}  // namespace vtpm::device
