// SPDX-License-Identifier: Apache-2.0
// KernelControl: /dev/vtpm in C++. See uapi/linux/vtpm.h for what each call means.
#pragma once

#include <linux/vtpm.h>

#include <optional>
#include <string>
#include <vector>

#include "base/checkpoint.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "base/uuid.h"

namespace vtpm::device {

struct KernelNode {
  std::uint32_t number = 0;
  std::uint32_t dev_major = 0, dev_minor = 0, devrm_major = 0, devrm_minor = 0;
};

class KernelControl {
 public:
  // `opened`: /dev/vtpm, from the fork server; invalid: `error` says why. Checks the ABI too: a
  // module of another major version is refused.
  static Result<KernelControl> take(UniqueFd opened, int error);

  struct Created {
    UniqueFd engine;
    KernelNode node;
    PowerId power_id{};
  };
  Result<Created> create(const Uuid& uuid, const std::string& label,
                         std::uint32_t command_timeout_ms, std::uint32_t detach_timeout_ms);
  struct Attached {
    UniqueFd engine;
    std::uint64_t sequence = 0;
  };
  Result<Attached> attach(const Uuid& uuid, const PowerId& power_id);
  Result<void> destroy(const Uuid& uuid);
  Result<void> release_number(const Uuid& uuid, std::uint32_t number);
  Result<void> wake(const Uuid& uuid);
  Result<PowerId> power_cycle(const Uuid& uuid);
  Result<std::optional<vtpm_info>> info(const Uuid& uuid);
  Result<std::vector<vtpm_info>> list();
  Result<vtpm_version> version();
  // What waits to be read; empty if nothing does.
  Result<std::vector<vtpm_event>> read_events();
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  explicit KernelControl(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

Uuid uuid_of(const vtpm_info& info);
Uuid uuid_of(const vtpm_event& event);

}  // namespace vtpm::device
