// SPDX-License-Identifier: Apache-2.0
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

Exit park(Session& session, const std::vector<std::string>& names) {
  return change_each(session, names, [&](const std::string& name) {
    v1::ParkRequest request;
    request.set_device(name);
    auto device = session.call(request);
    // A command may have woken it again already.
    if (device)
      session.say(fmt::format("parked {}: {}\n", printable(device->name()), word(device->state())));
    return device;
  });
}

}  // namespace

Action declare_park(Arguments& arguments) {
  auto names = std::make_shared<std::vector<std::string>>();
  arguments.texts("NAME", *names, "names or uuids of devices").required();
  return [names](Session& session) { return park(session, *names); };
}

}  // namespace vtpm::ctl
