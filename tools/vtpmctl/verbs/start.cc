// SPDX-License-Identifier: Apache-2.0
#include "device_text.h"
#include "measure.h"
#include "terminal_text.h"
#include "verbs/verbs.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::vector<std::string> names;
  MeasureOptions measured;
};

Exit start(Session& session, const Options& options) {
  auto measured = measure(options.measured);
  if (!measured) return session.report(measured.error());
  return change_each(session, options.names, [&](const std::string& name) {
    v1::StartRequest request;
    request.set_device(name);
    *request.mutable_measured() = *measured;
    auto device = session.call(request);
    if (!device) return device;
    if (session.quiet() && !session.json()) session.print(printable(client_path(*device)) + "\n");
    session.say(fmt::format("started {}\n", printable(device->name())) + node_lines(*device));
    tip_how_to_use(session, *device);
    return device;
  });
}

}  // namespace

Action declare_start(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.texts("NAME", options->names, "names or uuids of devices").required();
  declare_measure(arguments, options->measured);
  return [options](Session& session) { return start(session, *options); };
}

}  // namespace vtpm::ctl
