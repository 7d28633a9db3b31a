// SPDX-License-Identifier: Apache-2.0
#include "verbs/creation.h"

#include "device_text.h"
#include "terminal_text.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

void say_created(Session& session, const v1::Device& device) {
  if (session.json()) return;
  if (session.quiet()) {
    const std::string path = client_path(device);
    if (!path.empty()) session.print(printable(path) + "\n");
    return;
  }
  session.print(fmt::format("created {}: {}, for {}, {}\n", printable(device.name()),
                            device.role() == v1::DEVICE ? word(device.mode()) : word(device.role()),
                            device.kind() == v1::OPEN ? "open use" : word(device.kind()),
                            word(device.state())));
  session.print(node_lines(device));
}

Outcome<std::uint32_t> duration(std::string_view option, const std::string& text) {
  return text.empty() ? Outcome<std::uint32_t>(0U) : parse_duration(option, text);
}

}  // namespace

void declare_settings(Arguments& arguments, NewDevice& device) {
  arguments.text("--from", device.from,
                 "a template or read-only device: the other settings are its");
  arguments
      .text("--for", device.kind,
            "what will use it (container); closes the platform hierarchy to fit")
      .one_of({"container", "vm", "open"});
  arguments.text("--owner", device.owner, "free text: the container or VM it belongs to");
  arguments.text("--node", device.node, "a /dev/tpmN of the kernel (kernel), or a unix socket")
      .one_of({"kernel", "socket"});
  arguments
      .text("--compat", device.compat,
            "linux-hmac: let a read-only device serve kernels with CONFIG_TCG_TPM2_HMAC")
      .one_of({"linux-hmac"});
  arguments.text("--command-timeout", device.command_timeout,
                 "how long one command may take: 500ms, 30s, 2m");
  arguments.text("--detach-timeout", device.detach_timeout,
                 "how long a command waits while the engine is replaced");
  arguments.text("--park-after", device.park_after,
                 "park it when it was idle so long: 90s, 10m, never; default: as vtpmd does");
  arguments
      .text("--cert-profile", device.cert_profile,
            "which endorsement keys its identity has; default: as vtpmd does")
      .one_of({"standard", "ecc", "full"});
}

Outcome<v1::CreateRequest> request_of(const NewDevice& device) {
  v1::CreateRequest request;
  if (device.from) {
    if (auto valid = check_name(*device.from); !valid) return tl::unexpected(valid.error());
    request.set_from(*device.from);
  }
  if (device.owner) request.set_owner(*device.owner);
  if (!device.kind.empty()) request.set_kind(*parse_kind(device.kind));
  if (!device.node.empty()) request.set_node(*parse_node(device.node));
  request.set_linux_hmac(device.compat == "linux-hmac");
  auto command = duration("--command-timeout", device.command_timeout);
  if (!command) return tl::unexpected(command.error());
  request.set_command_timeout_ms(*command);
  auto detach = duration("--detach-timeout", device.detach_timeout);
  if (!detach) return tl::unexpected(detach.error());
  request.set_detach_timeout_ms(*detach);
  if (!device.cert_profile.empty())
    request.set_cert_profile(*parse_cert_profile(device.cert_profile));
  if (!device.park_after.empty()) {
    auto idle = parse_idle_time("--park-after", device.park_after);
    if (!idle) return tl::unexpected(idle.error());
    request.set_park_after_s(*idle);
  }
  return request;
}

Exit create_each(Session& session, const std::vector<std::string>& names, bool started,
                 const std::function<Outcome<v1::Device>(const std::string&)>& make) {
  Json created = Json::array();
  const Exit exit = for_each_device(session, names, [&](const std::string& name) -> Outcome<void> {
    auto device = make(name);
    if (!device) return tl::unexpected<Failure>(device.error());
    created.push_back(to_json(*device));
    say_created(session, *device);
    if (started)
      tip_how_to_use(session, *device);
    else if (device->role() == v1::DEVICE)
      session.tip(fmt::format("it is off; start it: vtpmctl start {}", name));
    else
      session.tip(fmt::format("make devices from it: vtpmctl create NAME --from {}", name));
    return {};
  });
  // An array if there can be several: what a script gets does not depend on how many failed.
  if (session.json() && names.size() > 1) session.print_json(created);
  if (session.json() && names.size() == 1 && !created.empty()) session.print_json(created.front());
  return exit;
}

Outcome<void> check_socket_path(const std::string& path, const std::vector<std::string>& names) {
  if (path.empty()) return {};
  if (path[0] != '/') {
    return failure(Exit::usage, "--socket-path needs an absolute path",
                   "vtpmd has another working directory than you");
  }
  if (names.size() > 1) {
    return failure(Exit::usage, "--socket-path is the place of one device",
                   "create one at a time, or leave out --socket-path");
  }
  return {};
}

}  // namespace vtpm::ctl
