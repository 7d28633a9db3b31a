// SPDX-License-Identifier: Apache-2.0
// Words for the shell, one a line, with a tab before a description: `__complete devices`,
// `__complete snapshots`, `__complete verbs`, `__complete options VERB`. Silent on failure: a shell
// that completes is no place for errors.
#include "list_devices.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string what;
  std::string verb;
};

// Shells expand what they are given: only what is a name for certain.
Exit print_devices(Session& session) {
  const auto devices = list_devices(session, Listed::devices_and_templates);
  if (!devices) return devices.error().exit;
  for (const v1::Device& device : *devices) {
    if (!valid_name(device.name())) continue;
    session.print(fmt::format("{}\t{}\n", device.name(), word(device.state())));
  }
  return Exit::ok;
}

Exit print_snapshots(Session& session) {
  const auto snapshots = list_devices(session, Listed::snapshots);
  if (!snapshots) return snapshots.error().exit;
  for (const v1::Device& snapshot : *snapshots) {
    if (!valid_snapshot_name(snapshot.name())) continue;
    session.print(fmt::format("{}\t{}\n", snapshot.name(), local_time(snapshot.taken_ns())));
  }
  return Exit::ok;
}

void print_option(Session& session, const LongOption& option) {
  session.print(fmt::format("--{}\t{}\n", option.name, option.purpose));
}

Exit print_options(Session& session, const Arguments& arguments, const std::string& name) {
  for (const Verb& verb : verbs()) {
    if (verb.name != name || verb.hidden) continue;
    for (const LongOption& option : arguments.options_of(name)) print_option(session, option);
  }
  for (const LongOption& option : arguments.global_options()) {
    if (option.name != "help") print_option(session, option);  // each verb has its own
  }
  if (name.empty()) session.print("--help\tPrint this help message and exit\n");
  return Exit::ok;
}

}  // namespace

Action declare_complete(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.text("WHAT", options->what, "devices, snapshots, verbs or options")
      .required()
      .one_of({"devices", "snapshots", "verbs", "options"});
  arguments.text("VERB", options->verb, "whose options");
  return [options, arguments](Session& session) {
    if (options->what == "devices") return print_devices(session);
    if (options->what == "snapshots") return print_snapshots(session);
    if (options->what == "options") {
      return print_options(session, arguments, options->verb);
    }
    for (const Verb& verb : verbs()) {
      if (!verb.hidden) session.print(fmt::format("{}\t{}\n", verb.name, verb.purpose));
    }
    return Exit::ok;
  };
}

}  // namespace vtpm::ctl
