// SPDX-License-Identifier: Apache-2.0
#include "cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <ostream>

#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct RawOptions {
  std::string format = "table";
  std::string socket;
  bool no_color = false;
  bool quiet = false;
};

struct CommandLine {
  CLI::App parser{
      "Virtual TPM 2.0 devices for containers and VMs.\n"
      "vtpmctl speaks to vtpmd; what you may do depends on the sockets that you may open.",
      "vtpmctl"};
  RawOptions raw;
  std::map<const CLI::App*, Action> actions;
};

void declare(CommandLine& line) {
  CLI::App& app = line.parser;
  app.require_subcommand(1);
  app.fallthrough();  // global options are good after the verb, too
  for (const auto& [from, to] : {std::pair{"SUBCOMMAND", "VERB"},
                                 {"Subcommands", "Verbs"},
                                 {"Positionals", "Arguments"},
                                 {"TEXT", "VALUE"},
                                 {"REQUIRED", ""}}) {
    app.get_formatter()->label(from, to);  // the verbs inherit it
  }
  app.add_option("-o,--output", line.raw.format, "how to print")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  app.add_flag("-q,--quiet", line.raw.quiet, "only names or paths, and errors");
  app.add_flag("--no-color", line.raw.no_color, "plain text, as with NO_COLOR in the environment");
  app.add_option("--socket", line.raw.socket, "socket of vtpmd, instead of those in /run/vtpm");
  app.set_version_flag("--version", "vtpmctl " VTPM_VERSION);
  app.footer(
      "Exit status: 0 ok, 1 failed, 2 usage, 3 not found, 4 exists or wrong state,\n"
      "5 permission, 6 vtpmd not reachable, 7 doctor found a failure,\n8 explain: refused. See "
      "vtpmctl(1).\n\n"
      "Examples:\n"
      "  vtpmctl create web --owner shop --start\n"
      "  vtpmctl list\n"
      "  vtpmctl VERB --help\n");
  for (const Verb& verb : verbs()) {
    CLI::App* parser = app.add_subcommand(verb.name, verb.purpose);
    parser->footer(std::string(verb.teaching) +
                   "\nOptions for all verbs (-o json, -q, --socket …): vtpmctl --help\n");
    if (verb.hidden) parser->group("");
    Arguments arguments(*parser);
    line.actions[parser] = verb.declare(arguments);
  }
}

GlobalOptions options_of(const RawOptions& raw, const Environment& environment) {
  GlobalOptions options;
  options.format = raw.format == "json" ? Format::json : Format::table;
  options.quiet = raw.quiet;
  options.color = environment.out_is_terminal && !raw.no_color &&
                  environment.variable("NO_COLOR").empty() &&
                  environment.variable("TERM") != "dumb";
  options.socket = raw.socket.empty() ? environment.variable("VTPM_SOCKET") : raw.socket;
  return options;
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> verb_names() {
  std::vector<std::string> names;
  for (const Verb& verb : verbs()) {
    if (!verb.hidden) names.emplace_back(verb.name);
  }
  return names;
}

Failure usage_failure(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  const std::vector<std::string> extras = app.remaining(true);
  const std::string help = chosen.empty() ? "'vtpmctl --help' lists the verbs"
                                          : fmt::format("'vtpmctl {} --help' shows what it takes",
                                                        chosen[0]->get_name());
  if (extras.empty()) {
    // CLI11's sentence; of a missing verb it says something about subcommands.
    return {Exit::usage,
            chosen.empty() && error.get_name() == "RequiredError" ? "no verb given" : error.what(),
            help};
  }
  const std::string& extra = extras.front();
  std::vector<std::string> choices;
  std::string message;
  if (extra.starts_with("-")) {
    message = fmt::format("there is no option {}", extra);
    choices = option_names(app);
    for (const CLI::App* verb : chosen) {
      const auto more = option_names(*verb);
      choices.insert(choices.end(), more.begin(), more.end());
    }
  } else if (chosen.empty()) {
    message = fmt::format("there is no verb '{}'", extra);
    choices = verb_names();
  } else {
    return {Exit::usage,
            fmt::format("'{}' is one word too many for {}", extra, chosen[0]->get_name()), help};
  }
  const std::string meant = nearest(extra, choices);
  return {Exit::usage, message,
          meant.empty() ? help : fmt::format("did you mean '{}'? {}", meant, help)};
}

}  // namespace

Exit run(std::vector<std::string> arguments, Environment& environment) {
  CommandLine line;
  declare(line);
  Session complaints(environment, {});
  if (!arguments.empty() && arguments[0] == "help") {  // "help", "help VERB"
    arguments.erase(arguments.begin());
    arguments.emplace_back("--help");
  }
  try {
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
    line.parser.parse(std::move(arguments));
  } catch (const CLI::Success& asked) {  // --help, --version
    line.parser.exit(asked, environment.out, environment.err);
    return complaints.flush() ? Exit::ok : Exit::failed;
  } catch (const CLI::ParseError& error) {
    return complaints.report(usage_failure(line.parser, error));
  }

  Session session(environment, options_of(line.raw, environment));
  const CLI::App* verb = line.parser.get_subcommands().front();
  const Exit exit = line.actions.at(verb)(session);
  if (!session.flush()) {
    return session.report({Exit::failed, "the output could not be written", ""});
  }
  return exit;
}

}  // namespace vtpm::ctl
