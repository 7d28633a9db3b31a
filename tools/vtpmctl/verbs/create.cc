// SPDX-License-Identifier: Apache-2.0
#include "device_text.h"
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::vector<std::string> names;
  std::string mode = "read-write";
  std::string kind = "container";
  std::string owner;
  std::string node = "kernel";
  std::string socket_path;
  std::string compat;
  std::string command_timeout;
  std::string detach_timeout;
  std::string park_after;
  bool start = false;
};

Outcome<v1::CreateRequest> request_of(const Options& options) {
  v1::CreateRequest request;
  request.set_owner(options.owner);
  request.set_mode(*parse_mode(options.mode));
  request.set_kind(*parse_kind(options.kind));
  request.set_node(*parse_node(options.node));
  request.set_linux_hmac(options.compat == "linux-hmac");
  request.set_start(options.start);
  if (!options.socket_path.empty()) {
    if (request.node() != v1::SOCKET) {
      return failure(Exit::usage, "--socket-path is for devices on a socket",
                     "add --node socket, or leave out --socket-path");
    }
    if (options.socket_path[0] != '/') {
      return failure(Exit::usage, "--socket-path needs an absolute path",
                     "vtpmd has another working directory than you");
    }
    if (options.names.size() > 1) {
      return failure(Exit::usage, "--socket-path is the place of one device",
                     "create one at a time, or leave out --socket-path");
    }
    request.set_socket_path(options.socket_path);
  }
  if (!options.command_timeout.empty()) {
    auto duration = parse_duration("--command-timeout", options.command_timeout);
    if (!duration) return tl::unexpected(duration.error());
    request.set_command_timeout_ms(*duration);
  }
  if (!options.detach_timeout.empty()) {
    auto duration = parse_duration("--detach-timeout", options.detach_timeout);
    if (!duration) return tl::unexpected(duration.error());
    request.set_detach_timeout_ms(*duration);
  }
  if (!options.park_after.empty()) {
    if (request.node() != v1::KERNEL) {
      return failure(Exit::usage, "--park-after is for kernel nodes",
                     "a device on a socket is never parked: leave out --park-after");
    }
    auto idle = parse_idle_time("--park-after", options.park_after);
    if (!idle) return tl::unexpected(idle.error());
    request.set_park_after_s(*idle);
  }
  return request;
}

void say_created(Session& session, const v1::Device& device) {
  if (session.json()) return;
  if (session.quiet()) {
    const std::string path = client_path(device);
    if (!path.empty()) session.print(printable(path) + "\n");
    return;
  }
  session.print(fmt::format(
      "created {}: {}, for {}, {}\n", printable(device.name()), word(device.mode()),
      device.kind() == v1::OPEN ? "open use" : word(device.kind()), word(device.state())));
  session.print(node_lines(device));
}

Exit create(Session& session, const Options& options) {
  auto request = request_of(options);
  if (!request) return session.report(request.error());
  Json created = Json::array();
  const Exit exit =
      for_each_device(session, options.names, [&](const std::string& name) -> Outcome<void> {
        request->set_name(name);
        auto device = session.call(*request);
        if (!device) return tl::unexpected<Failure>(device.error());
        created.push_back(to_json(*device));
        say_created(session, *device);
        if (options.start)
          tip_how_to_use(session, *device);
        else
          session.tip(fmt::format("it is off; start it: vtpmctl start {}", name));
        return {};
      });
  // An array if there can be several: what a script gets does not depend on how many failed.
  if (session.json() && options.names.size() > 1) session.print_json(created);
  if (session.json() && options.names.size() == 1 && !created.empty())
    session.print_json(created.front());
  return exit;
}

}  // namespace

Action declare_create(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.texts("NAME", options->names, "1 to 63 of A-Z a-z 0-9 . _ -, a letter or digit first")
      .required();
  arguments.text("--mode", options->mode, "read-only has no identity and makes no keys")
      .one_of({"read-only", "read-write"});
  arguments.text("--for", options->kind, "what will use it; closes the platform hierarchy to fit")
      .one_of({"container", "vm", "open"});
  arguments.text("--owner", options->owner, "free text: the container or VM it belongs to");
  arguments.text("--node", options->node, "a /dev/tpmN of the kernel, or a unix socket")
      .one_of({"kernel", "socket"});
  arguments.text("--socket-path", options->socket_path,
                 "with --node socket: where; default chosen by vtpmd");
  arguments
      .text("--compat", options->compat,
            "linux-hmac: let a read-only device serve kernels with CONFIG_TCG_TPM2_HMAC")
      .one_of({"linux-hmac"});
  arguments.text("--command-timeout", options->command_timeout,
                 "how long one command may take: 500ms, 30s, 2m");
  arguments.text("--detach-timeout", options->detach_timeout,
                 "how long a command waits while the engine is replaced");
  arguments.text("--park-after", options->park_after,
                 "park it when it was idle so long: 90s, 10m, never; default: as vtpmd does");
  arguments.flag("--start", options->start, "start it, too");
  return [options](Session& session) { return create(session, *options); };
}

}  // namespace vtpm::ctl
