// SPDX-License-Identifier: Apache-2.0
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

Exit power_cycle(Session& session, const Options& options) {
  if (auto valid = check_name(options.name); !valid) return session.report(valid.error());
  auto measured = measure(options.measured);
  if (!measured) return session.report(measured.error());
  if (!options.yes) {
    // Resetting the PCRs under a running guest is never done by accident.
    auto agreed =
        confirm(session, "power-cycle",
                fmt::format("Power-cycle {}? Its PCRs and sessions are lost under whoever "
                            "uses it. [y/N] ",
                            options.name),
                {"y", "Y", "yes"});
    if (!agreed) return session.report(agreed.error());
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
