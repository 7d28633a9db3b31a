// SPDX-License-Identifier: Apache-2.0
#include "device_text.h"
#include "terminal_text.h"
#include "verbs/verbs.h"

namespace vtpm::ctl {
namespace {

Exit start(Session& session, const std::vector<std::string>& names) {
  Json started = Json::array();
  const Exit exit = for_each_device(session, names, [&](const std::string& name) -> Outcome<void> {
    v1::StartRequest request;
    request.set_device(name);
    auto device = session.call(request);
    if (!device) return tl::unexpected<Failure>(device.error());
    if (session.json()) {
      started.push_back(to_json(*device));
    } else if (session.quiet()) {
      session.print(printable(client_path(*device)) + "\n");
    } else {
      session.print(fmt::format("started {}\n", printable(device->name())));
      session.print(node_lines(*device));
    }
    tip_how_to_use(session, *device);
    return {};
  });
  if (session.json()) session.print_json(started);
  return exit;
}

}  // namespace

Action declare_start(Arguments& arguments) {
  auto names = std::make_shared<std::vector<std::string>>();
  arguments.texts("NAME", *names, "names or uuids of devices").required();
  return [names](Session& session) { return start(session, *names); };
}

}  // namespace vtpm::ctl
