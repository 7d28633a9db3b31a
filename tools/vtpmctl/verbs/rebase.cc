// SPDX-License-Identifier: Apache-2.0
#include "terminal_text.h"
#include "verbs/verbs.h"

namespace vtpm::ctl {
namespace {

Exit rebase(Session& session, const std::vector<std::string>& names) {
  return change_each(session, names, [&](const std::string& name) {
    v1::RebaseRequest request;
    request.set_device(name);
    auto device = session.call(request);
    if (device) session.say(fmt::format("rebased {}\n", printable(device->name())));
    return device;
  });
}

}  // namespace

Action declare_rebase(Arguments& arguments) {
  auto names = std::make_shared<std::vector<std::string>>();
  arguments.texts("NAME", *names, "names or uuids of quarantined clones").required();
  return [names](Session& session) { return rebase(session, *names); };
}

}  // namespace vtpm::ctl
