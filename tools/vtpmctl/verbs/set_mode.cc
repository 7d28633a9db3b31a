// SPDX-License-Identifier: Apache-2.0
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string name;
  std::string mode;
};

Exit set_mode(Session& session, const Options& options) {
  if (auto valid = check_name(options.name); !valid) return session.report(valid.error());
  v1::SetModeRequest request;
  request.set_device(options.name);
  request.set_mode(*parse_mode(options.mode));
  auto device = session.call(request);
  if (!device) return session.report(device.error());
  if (session.json()) session.print_json(to_json(*device));
  session.say(fmt::format("{} is {}, {}\n", printable(device->name()), word(device->mode()),
                          word(device->state())));
  return Exit::ok;
}

}  // namespace

Action declare_set_mode(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.text("NAME", options->name, "name or uuid of the device").required();
  arguments.text("MODE", options->mode, "read-write: the device gets an identity of its own")
      .required()
      .one_of({"read-only", "read-write"});
  return [options](Session& session) { return set_mode(session, *options); };
}

}  // namespace vtpm::ctl
