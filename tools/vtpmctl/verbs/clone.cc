// SPDX-License-Identifier: Apache-2.0
#include "verbs/creation.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string source;
  std::vector<std::string> names;
  std::string mode;
  std::optional<std::string> owner;
  std::string socket_path;
  bool fresh_storage = false;
  bool cold = false;
  bool start = false;
};

Exit clone(Session& session, const Options& options) {
  if (!valid_snapshot_name(options.source))
    if (auto valid = check_name(options.source); !valid) return session.report(valid.error());
  if (auto good = check_socket_path(options.socket_path, options.names); !good)
    return session.report(good.error());
  v1::CloneRequest request;
  request.set_source(options.source);
  if (!options.mode.empty()) request.set_mode(*parse_mode(options.mode));
  if (options.owner) request.set_owner(*options.owner);
  request.set_socket_path(options.socket_path);
  request.set_fresh_storage(options.fresh_storage);
  request.set_cold(options.cold);
  request.set_start(options.start);
  return create_each(session, options.names, options.start, [&](const std::string& name) {
    request.set_name(name);
    return session.call(request);
  });
}

}  // namespace

Action declare_clone(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments
      .text("SOURCE", options->source, "name or uuid of the device, snapshot or template to clone")
      .required();
  arguments.texts("NAME", options->names, "names of the new devices").required();
  arguments.text("--mode", options->mode, "read-only: without an identity, too (read-write)")
      .one_of({"read-only", "read-write"});
  arguments.text("--owner", options->owner, "the new device's; default: the source's");
  arguments.text("--socket-path", options->socket_path,
                 "of a clone on a socket: where; default chosen by vtpmd");
  arguments.flag("--fresh-storage", options->fresh_storage,
                 "another storage hierarchy than the source's, without its keys");
  arguments.flag("--cold", options->cold,
                 "of a device that is on: without its PCRs; the clone's first start is a power-on");
  arguments.flag("--start", options->start, "start it, too");
  return [options](Session& session) { return clone(session, *options); };
}

}  // namespace vtpm::ctl
