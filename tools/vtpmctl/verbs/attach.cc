// SPDX-License-Identifier: Apache-2.0
// attach and detach. vtpmd only tells of the device; what is done is done here, with the rights of
// whoever runs vtpmctl.
#include "container.h"
#include "node_mount.h"
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string name;
  std::uint32_t pid = 0;
  std::uint32_t number = 0;
};

Outcome<void> check_has_node(const v1::Device& device) {
  if (device.node() == v1::SOCKET) {
    return failure(Exit::conflict, fmt::format("{} has a socket, not a kernel node", device.name()),
                   "a VM gets the socket when it starts; for a container, 'vtpmctl create --node "
                   "kernel'");
  }
  if (device.device_path().empty()) {
    return failure(Exit::conflict,
                   fmt::format("{} is {}: it has no node", device.name(), word(device.state())),
                   fmt::format("vtpmctl start {}", shell_word(device.name())));
  }
  return {};
}

Outcome<v1::Device> show(Session& session, const std::string& name) {
  if (auto valid = check_name(name); !valid) return tl::unexpected<Failure>(valid.error());
  v1::ShowRequest request;
  request.set_device(name);
  return session.call(request);
}

void print_json(Session& session, const v1::Device& device, std::uint32_t pid,
                const std::vector<std::string>& nodes) {
  if (!session.json()) return;
  session.print_json(
      Json{{"name", device.name()}, {"uuid", device.uuid()}, {"pid", pid}, {"nodes", nodes}});
}

Outcome<void> attach(Session& session, const Options& options) {
  const auto device = show(session, options.name);
  if (!device) return tl::unexpected<Failure>(device.error());
  if (auto has = check_has_node(*device); !has) return has;
  const auto container = open_container(session.environment(), options.pid);
  if (!container) return tl::unexpected<Failure>(container.error());
  const std::string source = mount_source(device->uuid());
  if (const auto there = mounted_nodes(container->mounts, source); !there.empty()) {
    return failure(Exit::conflict,
                   fmt::format("the container of process {} has {} already, as /dev/{}",
                               options.pid, device->name(), there.front().name),
                   "if it is of an earlier start of the device: 'vtpmctl detach' first");
  }
  const auto cgroup = open_cgroup(session.environment(), *container);
  if (!cgroup) return tl::unexpected<Failure>(cgroup.error());
  const Nodes nodes{
      Node{fmt::format("tpm{}", options.number), device->dev_major(), device->dev_minor()},
      Node{fmt::format("tpmrm{}", options.number), device->devrm_major(), device->devrm_minor()}};
  if (auto done = mount_nodes(session.environment(), *container, *cgroup, source, nodes); !done)
    return done;
  const std::string tpm = "/dev/" + nodes[0].name;
  const std::string rm = "/dev/" + nodes[1].name;
  print_json(session, *device, options.pid, {tpm, rm});
  session.say(
      fmt::format("attached {} to the container of process {}, as\n  device            {}\n  "
                  "resource manager  {}\n",
                  printable(device->name()), options.pid, tpm, rm));
  return {};
}

Outcome<void> detach(Session& session, const Options& options) {
  const auto device = show(session, options.name);
  if (!device) return tl::unexpected<Failure>(device.error());
  const auto container = open_container(session.environment(), options.pid);
  if (!container) return tl::unexpected<Failure>(container.error());
  const auto there = mounted_nodes(container->mounts, mount_source(device->uuid()));
  if (there.empty()) {
    return failure(Exit::conflict,
                   fmt::format("the container of process {} has no node of {} that 'vtpmctl "
                               "attach' gave it",
                               options.pid, device->name()),
                   "what a container was started with belongs to what started it");
  }
  if (auto done = unmount_nodes(*container, there); !done) return done;
  std::vector<std::string> nodes;
  nodes.reserve(there.size());
  for (const MountedNode& node : there) nodes.push_back("/dev/" + node.name);
  print_json(session, *device, options.pid, nodes);
  session.say(fmt::format("detached {} from the container of process {}\n",
                          printable(device->name()), options.pid));
  return {};
}

using Do = Outcome<void> (*)(Session&, const Options&);

Action declare(Arguments& arguments, const std::shared_ptr<Options>& options, Do work) {
  constexpr std::uint32_t kLargestPid = 1 << 22;
  arguments.text("NAME", options->name, "name or uuid of the device").required();
  arguments.number("--pid", options->pid, "the first process of the container, as the host counts")
      .required()
      .between(1, kLargestPid);
  return [options, work](Session& session) {
    const auto done = work(session, *options);
    return done ? Exit::ok : session.report(done.error());
  };
}

}  // namespace

Action declare_attach(Arguments& arguments) {
  constexpr std::uint32_t kLargestNumber = 65535;
  auto options = std::make_shared<Options>();
  arguments
      .number("--as", options->number, "N: the container finds it at /dev/tpmN and /dev/tpmrmN")
      .between(0, kLargestNumber);
  return declare(arguments, options, attach);
}

Action declare_detach(Arguments& arguments) {
  return declare(arguments, std::make_shared<Options>(), detach);
}

}  // namespace vtpm::ctl
