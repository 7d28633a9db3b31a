// SPDX-License-Identifier: Apache-2.0
// Container: a process that runs with mounts of its own, and what the host knows of it. All that
// is read comes from the host's /proc; nothing is asked of the container or of its runtime.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "environment.h"

namespace vtpm::ctl {

// All of one process, whoever gets its PID afterwards.
struct Container {
  UniqueFd process;  // pidfd
  UniqueFd proc;     // its folder in /proc
  UniqueFd root;     // its root directory, O_PATH
  uid_t uid = 0;     // its root, as the host counts
  gid_t gid = 0;
  std::string mounts;  // its mountinfo
};

// Fails for a process that sees the mounts that vtpmctl sees: it is in no container.
Outcome<Container> open_container(const Environment& environment, std::uint32_t pid);

// cgroup.procs of its cgroup, for writing: who writes 0 there becomes subject to its rules.
Outcome<UniqueFd> open_cgroup(const Environment& environment, const Container& container);

// A node that 'attach' mounted: on /dev/NAME.
struct MountedNode {
  std::uint64_t mount_id = 0;
  std::string name;
};

// What attach gives as the source of the file system with a device's nodes; findmnt(8) shows it.
std::string mount_source(const std::string& uuid);

// The parsers behind these, of what the kernel prints.

// Those of `source` below /dev. Everything but the id may be what the container made of it.
std::vector<MountedNode> mounted_nodes(std::string_view mountinfo, std::string_view source);
// From uid_map or gid_map: what 0 inside is outside.
std::optional<std::uint32_t> outside_of_root(std::string_view map);
// From /proc/PID/cgroup: the path in the unified hierarchy; fails if device rules are version 1's.
Outcome<std::string> cgroup_path(std::string_view text);

}  // namespace vtpm::ctl
