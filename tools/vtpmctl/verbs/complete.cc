// SPDX-License-Identifier: Apache-2.0
// Words for the shell, one a line, with a tab before a description: `__complete devices`,
// `__complete verbs`, `__complete options VERB`. Silent on failure: a shell that completes is no
// place for errors.
#include "list_devices.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string what;
  std::string verb;
};

Exit print_devices(Session& session) {
  const auto devices = list_devices(session);
  if (!devices) return devices.error().exit;
  for (const v1::Device& device : *devices) {
    // Shells expand what they are given: only what is a name for certain.
    if (!valid_name(device.name())) continue;
    session.print(fmt::format("{}\t{}\n", device.name(), word(device.state())));
  }
  return Exit::ok;
}

Exit print_options(Session& session, const CLI::App& root, const std::string& name) {
  const auto print_of = [&](const CLI::App& app) {
    for (const CLI::Option* option : app.get_options()) {
      for (const std::string& text : option->get_lnames()) {
        session.print(fmt::format("--{}\t{}\n", text, option->get_description()));
      }
    }
  };
  for (const Verb& verb : verbs()) {
    if (verb.name != name || verb.hidden) continue;
    print_of(*root.get_subcommand(name));
  }
  for (const CLI::Option* option : root.get_options()) {
    for (const std::string& text : option->get_lnames()) {
      if (text == "help") continue;  // each verb has its own
      session.print(fmt::format("--{}\t{}\n", text, option->get_description()));
    }
  }
  if (name.empty()) session.print("--help\tPrint this help message and exit\n");
  return Exit::ok;
}

}  // namespace

Action declare_complete(CLI::App& parser) {
  auto options = std::make_shared<Options>();
  parser.add_option("WHAT", options->what, "devices, verbs or options")
      ->required()
      ->check(CLI::IsMember({"devices", "verbs", "options"}));
  parser.add_option("VERB", options->verb, "whose options");
  return [options, &parser](Session& session) {
    if (options->what == "devices") return print_devices(session);
    if (options->what == "options") {
      return print_options(session, *parser.get_parent(), options->verb);
    }
    for (const Verb& verb : verbs()) {
      if (!verb.hidden) session.print(fmt::format("{}\t{}\n", verb.name, verb.purpose));
    }
    return Exit::ok;
  };
}

}  // namespace vtpm::ctl
