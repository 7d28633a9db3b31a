// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"
#include "output_file.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string name;
  std::string file;
};

Exit event_log(Session& session, const Options& options) {
  if (auto valid = check_name(options.name); !valid) return session.report(valid.error());
  if (options.file.empty() && !session.json() && session.environment().out_is_terminal)
    return session.report({Exit::usage, "an event log is no text for a terminal",
                           "name a file behind the device, then: tpm2_eventlog FILE"});
  v1::EventLogRequest request;
  request.set_device(options.name);
  const auto reply = session.call(request);
  if (!reply) return session.report(reply.error());
  if (!options.file.empty()) {
    if (const auto done = write_file(options.file, reply->log()); !done)
      return session.report(done.error());
  }
  if (session.json())
    session.print_json(Json{{"log", to_hex(as_bytes(reply->log()))}});
  else if (options.file.empty())
    session.print(reply->log());
  return Exit::ok;
}

}  // namespace

Action declare_event_log(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.text("NAME", options->name, "name or uuid of the device").required();
  arguments.text("FILE", options->file, "where to write it; standard output if none is given");
  return [options](Session& session) { return event_log(session, *options); };
}

}  // namespace vtpm::ctl
