// SPDX-License-Identifier: Apache-2.0
#include "device_text.h"
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string snapshot;
  bool delete_newer = false;
  bool stop = false;
  bool start = false;
  bool release = false;
  bool yes = false;
};

Exit rollback(Session& session, const Options& options) {
  const std::string& name = options.snapshot;
  if (auto valid = check_snapshot_name(name); !valid) return session.report(valid.error());
  if (!options.yes) {
    const std::string device = name.substr(0, name.find('@'));
    auto agreed =
        confirm(session, "rollback",
                fmt::format("What {} has stored since {} was taken is lost for good{}, and "
                            "its endorsement keys are\nnot those that others know.\n"
                            "Type the device's name to go on: ",
                            device, name, options.delete_newer ? ", newer snapshots too" : ""),
                {device});
    if (!agreed) return session.report(agreed.error());
  }
  v1::RollbackRequest request;
  request.set_snapshot(name);
  request.set_delete_newer(options.delete_newer);
  request.set_stop(options.stop);
  request.set_start(options.start);
  request.set_release_number(options.release);
  const auto device = session.call(request);
  if (!device) return session.report(device.error());
  if (session.json()) session.print_json(to_json(*device));
  session.say(fmt::format("rolled back {} to {}: {}\n{}", printable(device->name()), name,
                          word(device->state()), node_lines(*device)));
  return Exit::ok;
}

}  // namespace

Action declare_rollback(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.text("NAME", options->snapshot, "DEVICE@SNAPSHOT").required();
  arguments.flag("--delete-newer", options->delete_newer, "delete newer snapshots, too");
  arguments.flag("--stop", options->stop, "stop the device first, also if it is in use");
  arguments.flag("--start", options->start, "start it afterwards");
  arguments.flag("--release", options->release,
                 "whoever used the node is gone: its number may be used again");
  arguments.flag("-y,--yes", options->yes, "do not ask");
  return [options](Session& session) { return rollback(session, *options); };
}

}  // namespace vtpm::ctl
