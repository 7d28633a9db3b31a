// SPDX-License-Identifier: Apache-2.0
#include "input_file.h"
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string file;
  std::string name;
  std::optional<std::string> owner;
};

Exit import_device(Session& session, const Options& options) {
  if (!options.name.empty()) {
    if (auto valid = check_name(options.name); !valid) return session.report(valid.error());
  }
  const auto file = read_file(options.file);
  if (!file) return session.report(file.error());
  v1::ImportRequest request;
  request.set_file(*file);
  request.set_name(options.name);
  if (options.owner) request.set_owner(*options.owner);
  const auto device = session.call(request);
  if (!device) return session.report(device.error());
  if (session.json()) session.print_json(to_json(*device));
  session.say(fmt::format("imported {}\n", printable(device->name())));
  return Exit::ok;
}

}  // namespace

Action declare_import(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.text("FILE", options->file, "what 'vtpmctl export' wrote on the other host").required();
  arguments.text("--name", options->name, "another name than it had there");
  arguments.text("--owner", options->owner, "another owner than it had there");
  return [options](Session& session) { return import_device(session, *options); };
}

}  // namespace vtpm::ctl
