// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::vector<std::string> names;
  std::optional<std::string> owner;
  std::string park_after;
  std::string cert_profile;
};

Outcome<v1::SetRequest> request_of(const Options& options) {
  v1::SetRequest request;
  if (options.owner) request.set_owner(*options.owner);
  if (options.park_after == "default") {
    request.set_park_after_default(true);
  } else if (!options.park_after.empty()) {
    auto idle = parse_idle_time("--park-after", options.park_after);
    if (!idle) return tl::unexpected(idle.error());
    request.set_park_after_s(*idle);
  }
  if (!options.cert_profile.empty())
    request.set_cert_profile(*parse_cert_profile(options.cert_profile));
  if (!options.owner && options.park_after.empty() && options.cert_profile.empty()) {
    return failure(Exit::usage, "nothing to set", "add --owner, --park-after or --cert-profile");
  }
  return request;
}

Exit set(Session& session, const Options& options) {
  auto request = request_of(options);
  if (!request) return session.report(request.error());
  return change_each(session, options.names, [&](const std::string& name) {
    request->set_device(name);
    auto device = session.call(*request);
    if (device) session.say(fmt::format("set {}\n", printable(device->name())));
    return device;
  });
}

}  // namespace

Action declare_set(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.texts("NAME", options->names, "names or uuids of devices").required();
  arguments.text("--owner", options->owner,
                 "free text: the container or VM it belongs to; '' is nobody");
  arguments.text("--park-after", options->park_after,
                 "park it when it was idle so long: 90s, 10m, never; default: as vtpmd does");
  arguments
      .text("--cert-profile", options->cert_profile,
            "which endorsement keys its identity is to have; default: as vtpmd does")
      .one_of({"standard", "ecc", "full", "default"});
  return [options](Session& session) { return set(session, *options); };
}

}  // namespace vtpm::ctl
