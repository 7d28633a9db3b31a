// SPDX-License-Identifier: Apache-2.0
// What a device's power-on measures. The worker is the firmware of a container's device; others
// have a firmware of their own, or are open for whoever plays it.
#include <utility>

#include "base/log.h"
#include "device/device.h"

namespace vtpm::device {

bool Device::measures() const {
  return record_.settings.kind == static_cast<std::uint8_t>(privsep::DeviceKind::container);
}

Result<std::vector<Event>> Device::to_measure(std::vector<Event> asked) const {
  if (measures()) return with_separators(std::move(asked));
  if (asked.empty()) return asked;
  const bool vm = record_.settings.kind == static_cast<std::uint8_t>(privsep::DeviceKind::vm);
  return fail(ErrorCode::failed_precondition,
              vm ? "a VM's firmware measures into its device: the host does not"
                 : "nothing is measured into a device for open use",
              "only devices that were created --for container are measured by the host");
}

Result<void> Device::publish_measured() {
  if (measured_.empty()) return {};
  return host_.event_logs.put(record_.uuid, record_.settings.name, measured_);
}

// Of a power cycle that an earlier vtpmd began. Without its log nothing is known to have been
// measured, and nothing is measured again.
void Device::recall_measured() {
  if (!measures() || !record_.powered) return;
  auto events = host_.event_logs.get(record_.uuid, record_.settings.name);
  if (events)
    measured_ = *std::move(events);
  else if (events.error().code != ErrorCode::not_found)  // that is so after a reboot
    log::warning("the event log of a device that is on cannot be read",
                 {{"device", record_.settings.name}, {"why", events.error().message}});
}

void Device::forget_measured() {
  measured_.clear();
  if (measures()) host_.event_logs.remove(record_.uuid, record_.settings.name);
}

}  // namespace vtpm::device
