// SPDX-License-Identifier: Apache-2.0
#include <istream>
#include <ostream>

#include "device_text.h"
#include "measure.h"
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string name;
  bool yes = false;
  MeasureOptions measured;
};

// Resetting the PCRs under a running guest is never done by accident.
Outcome<void> confirm(Environment& environment, const std::string& name) {
  if (!environment.in_is_terminal) {
    return failure(Exit::usage, "power-cycle asks first, and there is no terminal to ask on",
                   "add --yes");
  }
  environment.err << "Power-cycle " << name
                  << "? Its PCRs and sessions are lost under whoever uses it. [y/N] " << std::flush;
  std::string answer;
  std::getline(environment.in, answer);
  if (answer == "y" || answer == "Y" || answer == "yes") return {};
  return failure(Exit::failed, "not done");
}

Exit power_cycle(Session& session, const Options& options) {
  if (auto valid = check_name(options.name); !valid) return session.report(valid.error());
  auto measured = measure(options.measured);
  if (!measured) return session.report(measured.error());
  if (!options.yes) {
    if (auto agreed = confirm(session.environment(), options.name); !agreed) {
      return session.report(agreed.error());
    }
  }
  v1::PowerCycleRequest request;
  request.set_device(options.name);
  *request.mutable_measured() = *measured;
  auto device = session.call(request);
  if (!device) return session.report(device.error());
  if (session.json()) session.print_json(to_json(*device));
  session.say(
      fmt::format("power-cycled {}: {}\n", printable(device->name()), word(device->state())));
  session.tip("restart the container or VM that uses it: its PCRs are those of a TPM just started");
  return Exit::ok;
}

}  // namespace

Action declare_power_cycle(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.text("NAME", options->name, "name or uuid of the device").required();
  arguments.flag("-y,--yes", options->yes, "do not ask");
  declare_measure(arguments, options->measured);
  return [options](Session& session) { return power_cycle(session, *options); };
}

}  // namespace vtpm::ctl
