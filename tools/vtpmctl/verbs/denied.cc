// SPDX-License-Identifier: Apache-2.0
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string name;
  std::uint32_t limit = 20;
};

Exit denied(Session& session, const Options& options) {
  v1::DeniedRequest request;
  if (!options.name.empty()) {
    if (auto valid = check_name(options.name); !valid) return session.report(valid.error());
    request.set_device(options.name);
  }
  request.set_limit(options.limit);
  auto reply = session.call(request);
  if (!reply) return session.report(reply.error());
  if (session.json()) {
    Json array = Json::array();
    for (const v1::DeniedCommand& command : reply->commands()) array.push_back(to_json(command));
    session.print_json(array);
  } else if (reply->commands_size() > 0) {
    Table table({"TIME", "DEVICE", "COMMAND", "ANSWER", "REASON"});
    for (const v1::DeniedCommand& command : reply->commands()) {
      std::string reason = command.reason();
      if (command.suppressed() > 0) reason += fmt::format(" (and {} more)", command.suppressed());
      table.add({{local_time(command.time_ns()), Tone::plain},
                 {command.name(), Tone::plain},
                 {command_text(command), Tone::plain},
                 {response_code_name(command.response_code()), Tone::plain},
                 {std::move(reason), Tone::plain}});
    }
    session.print(table);
  }
  if (reply->commands_size() == 0) {
    session.hint("no command was refused since vtpmd started");
  }
  return Exit::ok;
}

}  // namespace

Action declare_denied(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.text("NAME", options->name, "name or uuid of a device; default: all");
  arguments.number("--limit", options->limit, "how many at most").between(1, 10000);
  return [options](Session& session) { return denied(session, *options); };
}

}  // namespace vtpm::ctl
