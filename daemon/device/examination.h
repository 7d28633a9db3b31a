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
  store::Store& store;
  KernelControl* kernel;  // null: --no-kernel
  pid_t fork_server;
  const std::map<Uuid, std::unique_ptr<Device>>& devices;
};

// Reads only; takes as long as a check of every page of the store.
std::vector<Finding> examine(const ExaminationInput& input);

}  // namespace vtpm::device
