// SPDX-License-Identifier: Apache-2.0
#include "device_text.h"
#include "terminal_text.h"
#include "verbs/verbs.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::vector<std::string> names;
  bool release = false;
};

Exit stop(Session& session, const Options& options) {
  return change_each(session, options.names, [&](const std::string& name) {
    v1::StopRequest request;
    request.set_device(name);
    request.set_release_number(options.release);
    auto device = session.call(request);
    if (!device) return device;
    session.say(fmt::format("stopped {}\n", printable(device->name())));
    if (!options.release && device->node() == v1::KERNEL) tip_number_held(session, name);
    return device;
  });
}

}  // namespace

Action declare_stop(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.texts("NAME", options->names, "names or uuids of devices").required();
  arguments.flag("--release", options->release,
                 "whoever used the node is gone: its number may be used again");
  return [options](Session& session) { return stop(session, *options); };
}

}  // namespace vtpm::ctl
