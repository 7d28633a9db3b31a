// SPDX-License-Identifier: Apache-2.0
// Node: where clients reach a device: a kernel node (/dev/tpmN) or a unix socket.
//
// A node outlives the workers that serve it; its descriptors are what a worker gets.
// Owned by a Device, used on the loop's thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/checkpoint.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "device/kernel_control.h"
#include "store/store.h"

namespace vtpm::device {

class Node {
 public:
  virtual ~Node() = default;
  // Makes the node; descriptors for its first worker.
  virtual Result<std::vector<UniqueFd>> power_on() = 0;
  // Descriptors for the next worker of the same power cycle. `power_id` as power_id() was.
  virtual Result<std::vector<UniqueFd>> attach(const PowerId& power_id) = 0;
  // A new power cycle in place; clients keep what they have open.
  virtual Result<std::vector<UniqueFd>> power_cycle() = 0;
  // Takes over a node that an earlier manager left in use, with what its worker's ForkRequest
  // carried for it. False: that is not this node.
  virtual bool adopt(std::vector<UniqueFd> descriptors) = 0;
  // The next manager is to find the node in use: nothing of it goes with us.
  virtual void leave() = 0;
  // Makes the worker look at its manager's messages.
  virtual void wake() = 0;
  // Begins to take the node away. True: done; false: gone() will be told later.
  virtual Result<bool> destroy() = 0;
  // The number of the kernel node that destroy() took away last may be used again. Numbers of
  // earlier nodes of the device stay held.
  virtual Result<void> release_number() = 0;
  // Of a node that nobody serves: what becomes readable when a client comes. None: the kernel says.
  [[nodiscard]] virtual std::vector<int> doors() const { return {}; }
  [[nodiscard]] virtual bool exists() const = 0;
  // Must clients wait for the kernel's REGISTERED event after power_on()?
  [[nodiscard]] virtual bool registers() const = 0;
  [[nodiscard]] virtual PowerId power_id() const = 0;
  [[nodiscard]] virtual KernelNode kernel_node() const { return {}; }
  [[nodiscard]] virtual std::string socket_path() const { return {}; }
  [[nodiscard]] virtual std::uint64_t sequence() { return 0; }
};

// `control` (not owned) may be null: such a node says that there is no module.
std::unique_ptr<Node> make_kernel_node(KernelControl* control, const Uuid& uuid,
                                       const store::Settings& settings);
// `folder`: where sockets go whose record names no path.
std::unique_ptr<Node> make_socket_node(const store::Settings& settings, const std::string& folder);

}  // namespace vtpm::device
