// SPDX-License-Identifier: Apache-2.0
#include "verbs/verbs.h"

namespace vtpm::ctl {
namespace {

Exit rotate(Session& session) {
  auto reply = session.call(v1::RotateHostKeyRequest());
  if (!reply) return session.report(reply.error());
  if (session.json()) session.print_json(Json{{"devices", reply->devices()}});
  session.say(
      fmt::format("the host key is new; devices under it: {}\n"
                  "back it up: copies of the old one open only copies of the old store\n",
                  reply->devices()));
  return Exit::ok;
}

}  // namespace

Action declare_host_key(Arguments& arguments) {
  auto action = std::make_shared<std::string>();
  arguments.text("ACTION", *action, "rotate: replace it").required().one_of({"rotate"});
  return [action](Session& session) { return rotate(session); };
}

}  // namespace vtpm::ctl
