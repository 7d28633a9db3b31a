// SPDX-License-Identifier: Apache-2.0
#include "device_text.h"
#include "terminal_text.h"
#include "verbs/verbs.h"

namespace vtpm::ctl {
namespace {

Exit start(Session& session, const std::vector<std::string>& names) {
  return change_each(session, names, [&](const std::string& name) {
    v1::StartRequest request;
    request.set_device(name);
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
  auto names = std::make_shared<std::vector<std::string>>();
  arguments.texts("NAME", *names, "names or uuids of devices").required();
  return [names](Session& session) { return start(session, *names); };
}

}  // namespace vtpm::ctl
