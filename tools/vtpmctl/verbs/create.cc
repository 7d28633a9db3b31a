// SPDX-License-Identifier: Apache-2.0
#include "verbs/creation.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::vector<std::string> names;
  std::string mode;
  NewDevice device;
  std::string socket_path;
  bool start = false;
};

Exit create(Session& session, const Options& options) {
  auto request = request_of(options.device);
  if (!request) return session.report(request.error());
  if (auto good = check_socket_path(options.socket_path, options.names); !good)
    return session.report(good.error());
  if (!options.socket_path.empty() && !options.device.from && request->node() != v1::SOCKET)
    return session.report({Exit::usage, "--socket-path is for devices on a socket",
                           "add --node socket, or leave out --socket-path"});
  if (!options.mode.empty()) request->set_mode(*parse_mode(options.mode));
  request->set_socket_path(options.socket_path);
  request->set_start(options.start);
  return create_each(session, options.names, options.start, [&](const std::string& name) {
    request->set_name(name);
    return session.call(*request);
  });
}

}  // namespace

Action declare_create(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.texts("NAME", options->names, "1 to 63 of A-Z a-z 0-9 . _ -, a letter or digit first")
      .required();
  arguments
      .text("--mode", options->mode, "read-only has no identity and makes no keys (read-write)")
      .one_of({"read-only", "read-write"});
  declare_settings(arguments, options->device);
  arguments.text("--socket-path", options->socket_path,
                 "with --node socket: where; default chosen by vtpmd");
  arguments.flag("--start", options->start, "start it, too");
  return [options](Session& session) { return create(session, *options); };
}

}  // namespace vtpm::ctl
