// SPDX-License-Identifier: Apache-2.0
// The verbs of vtpmctl: a table of name, purpose, examples and what to do.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <span>

#include "environment.h"
#include "session.h"

namespace vtpm::ctl {

// What a verb does once its command line is read.
using Action = std::function<Exit(Session&)>;

struct Verb {
  const char* name;
  const char* purpose;   // a sentence
  const char* teaching;  // more of what one should know, and one or two examples
  // Adds the verb's options to its parser and gives the action that uses them.
  Action (*declare)(CLI::App& parser);
  bool hidden = false;
};

// In the order in which help shows them.
std::span<const Verb> verbs();

Action declare_create(CLI::App& parser);
Action declare_list(CLI::App& parser);
Action declare_show(CLI::App& parser);
Action declare_start(CLI::App& parser);
Action declare_stop(CLI::App& parser);
Action declare_delete(CLI::App& parser);
Action declare_power_cycle(CLI::App& parser);
Action declare_park(CLI::App& parser);
Action declare_release(CLI::App& parser);
Action declare_host_key(CLI::App& parser);
Action declare_watch(CLI::App& parser);
Action declare_denied(CLI::App& parser);
Action declare_explain(CLI::App& parser);
Action declare_doctor(CLI::App& parser);
Action declare_version(CLI::App& parser);
Action declare_complete(CLI::App& parser);

// Does `one` for each name, reports each failure, goes on unless vtpmd is gone; the exit status is
// that of the first failure.
Exit for_each_device(Session& session, const std::vector<std::string>& names,
                     const std::function<Outcome<void>(const std::string&)>& one);

}  // namespace vtpm::ctl
