// SPDX-License-Identifier: Apache-2.0
#include "verbs/verbs.h"

namespace vtpm::ctl {
namespace {

Exit rotate(Session& session) {
  auto reply = session.call(&v1::Admin::Stub::RotateHostKey, v1::RotateHostKeyRequest());
  if (!reply) return session.report(reply.error());
  if (session.json()) {
    session.print_json(Json{{"devices", reply->devices()}});
  } else if (!session.quiet()) {
    session.print(
        fmt::format("the host key is new; devices under it: {}\n"
                    "back it up: copies of the old one open only copies of the old store\n",
                    reply->devices()));
  }
  return Exit::ok;
}

}  // namespace

Action declare_host_key(CLI::App& parser) {
  parser.add_option("ACTION", "rotate: replace it")
      ->required()
      ->check(CLI::IsMember(std::vector<std::string>{"rotate"}));
  return [](Session& session) { return rotate(session); };
}

}  // namespace vtpm::ctl
