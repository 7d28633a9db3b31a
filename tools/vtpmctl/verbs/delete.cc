// SPDX-License-Identifier: Apache-2.0
#include "device_text.h"
#include "verbs/verbs.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::vector<std::string> names;
  bool force = false;
  bool release = false;
};

// Asked before the device is gone, and only for the sake of a hint: a failure means no.
bool has_kernel_node(Session& session, const std::string& name) {
  v1::ShowRequest request;
  request.set_device(name);
  const auto device = session.call(request);
  return device && device->node() == v1::KERNEL && !device->device_path().empty();
}

Exit remove(Session& session, const Options& options) {
  Json deleted = Json::array();
  const Exit exit =
      for_each_device(session, options.names, [&](const std::string& name) -> Outcome<void> {
        auto connected = session.connect(Role::admin);  // serves the question, too
        if (!connected) return tl::unexpected<Failure>(connected.error());
        const bool advise = !options.release && session.environment().err_is_terminal &&
                            has_kernel_node(session, name);
        v1::DeleteRequest request;
        request.set_device(name);
        request.set_force(options.force);
        request.set_release_number(options.release);
        auto done = delete_one(session, name, request, deleted);
        if (done && advise) tip_number_held(session, "--all");
        return done;
      });
  if (session.json()) session.print_json(deleted);
  return exit;
}

}  // namespace

Action declare_delete(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.texts("NAME", options->names, "names or uuids of devices").required();
  arguments.flag("--force", options->force,
                 "stop it first, also if it is in use; delete its snapshots, too");
  arguments.flag("--release", options->release,
                 "whoever used the node is gone: its number may be used again");
  return [options](Session& session) { return remove(session, *options); };
}

}  // namespace vtpm::ctl
