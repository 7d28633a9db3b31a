// SPDX-License-Identifier: Apache-2.0
// EventLogs: the event logs of the devices that are on, in the run directory: they go with the
// host's power, as the PCRs do, and outlive vtpmd, as the PCRs do.
//
// Each is there twice. RUN/eventlog/NAME is for the world, to be bind-mounted into a container: it
// keeps its inode as long as the device is on. RUN/measured/UUID is vtpmd's own and what a power
// cycle measures again, for a container may have got the other one writable.
#pragma once

#include <string>
#include <vector>

#include "base/uuid.h"
#include "device/event_log.h"

namespace vtpm::device {

class EventLogs {
 public:
  static Result<EventLogs> open(const std::string& run_dir);

  Result<void> put(const Uuid& device, const std::string& name, const std::vector<Event>& events);
  // For later, when the device is first on: not for the world yet.
  Result<void> keep(const Uuid& device, const std::vector<Event>& events) const;
  [[nodiscard]] Result<std::vector<Event>> kept(const Uuid& device) const;
  // What put() was given last, by this vtpmd or an earlier one; NOT_FOUND if there is none. The
  // public copy is made good again.
  Result<std::vector<Event>> get(const Uuid& device, const std::string& name) const;
  void remove(const Uuid& device, const std::string& name) const;
  // One of the two.
  void unpublish(const std::string& name) const;
  void drop(const Uuid& device) const;
  // Of the public copy.
  [[nodiscard]] std::string path(const std::string& name) const { return public_ + "/" + name; }

 private:
  EventLogs(std::string own, std::string published)
      : own_(std::move(own)), public_(std::move(published)) {}
  Result<void> write_own(const Uuid& device, ByteView log) const;
  [[nodiscard]] Result<SecretBytes> read_own(const Uuid& device) const;
  Result<void> publish(const std::string& name, ByteView log) const;

  std::string own_;
  std::string public_;
};

}  // namespace vtpm::device
