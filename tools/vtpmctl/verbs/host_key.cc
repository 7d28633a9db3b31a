// SPDX-License-Identifier: Apache-2.0
#include "output_file.h"
#include "terminal_text.h"
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

Exit recipient(Session& session, const std::string& file) {
  const auto reply = session.call(v1::RecipientRequest());
  if (!reply) return session.report(reply.error());
  if (!file.empty()) {
    if (const auto done = write_file(file, reply->pem()); !done)
      return session.report(done.error());
  }
  if (session.json())
    session.print_json(Json{{"recipient", reply->pem()}});
  else if (file.empty())
    session.print(reply->pem());
  else
    session.say("wrote " + printable(file) + "\n");
  return Exit::ok;
}

struct Options {
  std::string action;
  std::string file;
};

Exit act(Session& session, const Options& options) {
  if (options.action == "recipient") return recipient(session, options.file);
  if (!options.file.empty())
    return session.report(
        {Exit::usage, "'host-key rotate' takes no file", "vtpmctl host-key --help"});
  return rotate(session);
}

}  // namespace

Action declare_host_key(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments
      .text("ACTION", options->action,
            "rotate: replace it; recipient: the public key that 'vtpmctl export' on another host "
            "seals to")
      .required()
      .one_of({"rotate", "recipient"});
  arguments.text("FILE", options->file,
                 "where recipient writes to; standard output if none is given");
  return [options](Session& session) { return act(session, *options); };
}

}  // namespace vtpm::ctl
