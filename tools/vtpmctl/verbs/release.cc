// SPDX-License-Identifier: Apache-2.0
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string name;
  bool all = false;
};

Exit release(Session& session, const Options& options) {
  if (options.all == !options.name.empty()) {
    return session.report({Exit::usage, "release needs the name of a device, or --all, not both",
                           "'vtpmctl release --help' says why numbers are held"});
  }
  v1::ReleaseRequest request;
  if (!options.all) {
    if (auto valid = check_name(options.name); !valid) return session.report(valid.error());
    request.set_device(options.name);
  }
  auto reply = session.call(request);
  if (!reply) return session.report(reply.error());
  if (session.json()) session.print_json(Json{{"released", reply->released()}});
  session.say(reply->released() == 0 ? "no number was held\n"
              : reply->released() == 1
                  ? "1 number may be used again\n"
                  : fmt::format("{} numbers may be used again\n", reply->released()));
  return Exit::ok;
}

}  // namespace

Action declare_release(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.text("NAME", options->name, "name or uuid of the device that had the number");
  arguments.flag("--all", options->all, "every number that is held");
  return [options](Session& session) { return release(session, *options); };
}

}  // namespace vtpm::ctl
