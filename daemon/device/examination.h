// SPDX-License-Identifier: Apache-2.0
// Examination: what is wrong on this host, in words, and how to mend it (vtpmctl doctor).
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "device/manager.h"

namespace vtpm::device {

struct ExaminationInput {
  const ManagerOptions& options;
  KernelControl* kernel;  // null: --no-kernel
  pid_t fork_server;
  const std::map<Uuid, std::unique_ptr<Device>>& devices;
  const std::map<Uuid, View>& damaged;
  const Seedlings& seedlings;
};

// All but the store's pages; quick, for the loop's thread.
std::vector<Finding> examine(const ExaminationInput& input);
// Every page of the store, by a connection of its own: for any thread but the loop's.
Finding examine_store(const std::string& state_dir);

}  // namespace vtpm::device
