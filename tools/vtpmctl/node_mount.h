// SPDX-License-Identifier: Apache-2.0
// The nodes of a device appear in a container that runs, and vanish.
//
// A node in the container is an inode of its own, on a tmpfs that holds the nodes of this one
// attachment and nothing else: it belongs to the container's root, with mode 0600, and whatever
// the container does to it (chmod, chown) is not done to the host's node. Each is mounted on a file
// that is made in the container's /dev. The mount is the only state.
//
// This is done by a child that enters the container's mount namespace and nothing else of it: a
// container with PIDs of its own neither sees it nor can send it a signal. It follows no symbolic
// link. A child of that one joins the container's cgroup as the container's root and opens the
// nodes; if it may not, all is undone.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "container.h"

namespace vtpm::ctl {

struct Node {
  std::string name;  // in the container's /dev
  unsigned major = 0;
  unsigned minor = 0;
};
using Nodes = std::array<Node, 2>;

// All of them, or the container is as it was.
Outcome<void> mount_nodes(const Environment& environment, const Container& container,
                          const UniqueFd& cgroup, const std::string& source, const Nodes& nodes);

// Also takes away the files that they were mounted on. Programs that have one open keep it.
Outcome<void> unmount_nodes(const Container& container, const std::vector<MountedNode>& nodes);

}  // namespace vtpm::ctl
