// SPDX-License-Identifier: Apache-2.0
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string name;
  bool yes = false;
};

Exit generalize(Session& session, const Options& options) {
  if (auto valid = check_name(options.name); !valid) return session.report(valid.error());
  if (!options.yes) {
    auto agreed = confirm(session, "generalize",
                          fmt::format("Every key and secret of {} is lost for good: its identity, "
                                      "sealed data, NV indices.\nType its name to go on: ",
                                      options.name),
                          {options.name});
    if (!agreed) return session.report(agreed.error());
  }
  v1::GeneralizeRequest request;
  request.set_device(options.name);
  auto device = session.call(request);
  if (!device) return session.report(device.error());
  if (session.json()) session.print_json(to_json(*device));
  session.say(fmt::format("generalized {}: {}, {}\n", printable(device->name()),
                          word(device->mode()), word(device->state())));
  return Exit::ok;
}

}  // namespace

Action declare_generalize(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.text("NAME", options->name, "name or uuid of the device").required();
  arguments.flag("-y,--yes", options->yes, "do not ask");
  return [options](Session& session) { return generalize(session, *options); };
}

}  // namespace vtpm::ctl
