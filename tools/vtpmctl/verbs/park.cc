// SPDX-License-Identifier: Apache-2.0
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

Exit park(Session& session, const std::vector<std::string>& names) {
  Json parked = Json::array();
  const Exit exit = for_each_device(session, names, [&](const std::string& name) -> Outcome<void> {
    v1::ParkRequest request;
    request.set_device(name);
    auto device = session.call(request);
    if (!device) return tl::unexpected<Failure>(device.error());
    if (session.json()) {
      parked.push_back(to_json(*device));
    } else if (!session.quiet()) {
      // A command may have woken it again already.
      session.print(
          fmt::format("parked {}: {}\n", printable(device->name()), word(device->state())));
    }
    return {};
  });
  if (session.json()) session.print_json(parked);
  return exit;
}

}  // namespace

Action declare_park(Arguments& arguments) {
  auto names = std::make_shared<std::vector<std::string>>();
  arguments.texts("NAME", *names, "names or uuids of devices").required();
  return [names](Session& session) { return park(session, *names); };
}

}  // namespace vtpm::ctl
