// SPDX-License-Identifier: Apache-2.0
#include "input_file.h"
#include "output_file.h"
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string name;
  std::string file;
  std::string recipient;
};

Exit export_device(Session& session, const Options& options) {
  if (auto valid = check_name(options.name); !valid) return session.report(valid.error());
  const auto recipient = read_file(options.recipient);
  if (!recipient) return session.report(recipient.error());
  v1::ExportRequest request;
  request.set_device(options.name);
  request.set_recipient(*recipient);
  const auto reply = session.call(request);
  if (!reply) return session.report(reply.error());
  if (const auto done = write_file(options.file, reply->file()); !done) {
    Failure failure = done.error();
    failure.hint = "the device has left; the same command with another file gives it again";
    return session.report(failure);
  }
  if (session.json()) session.print_json(Json{{"name", options.name}, {"file", options.file}});
  session.say(fmt::format("exported {}: wrote {}\n", options.name, printable(options.file)));
  return Exit::ok;
}

}  // namespace

Action declare_export(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.text("NAME", options->name, "name or uuid of the device").required();
  arguments.text("FILE", options->file, "where the device is written to").required();
  arguments
      .text("--to", options->recipient,
            "what 'vtpmctl host-key recipient' gave on the host that is to have it")
      .required();
  return [options](Session& session) { return export_device(session, *options); };
}

}  // namespace vtpm::ctl
