// SPDX-License-Identifier: Apache-2.0
#include "terminal_text.h"
#include "verbs/verbs.h"

namespace vtpm::ctl {
namespace {

Exit version(Session& session) {
  const auto reply = session.call(v1::VersionRequest{});
  if (session.json()) {
    Json json{{"vtpmctl", VTPM_VERSION}};
    const auto add = [&](const char* name, const auto& value) {
      json[name] = reply ? Json(value) : Json(nullptr);
    };
    const v1::VersionReply known = reply ? *reply : v1::VersionReply();
    add("vtpmd", known.vtpmd());
    add("libtpms", known.libtpms());
    add("store", known.store());
    add("module", known.module());
    add("module_abi_major", known.module_abi_major());
    add("module_abi_minor", known.module_abi_minor());
    add("kernel", known.kernel());
    session.print_json(json);
  } else {
    session.print("vtpmctl   " VTPM_VERSION "\n");
    if (reply) {
      const std::string module =
          reply->module().empty()
              ? "not loaded"
              : fmt::format("{} (interface {}.{})", reply->module(), reply->module_abi_major(),
                            reply->module_abi_minor());
      session.print(
          fmt::format("vtpmd     {}\nlibtpms   {}\nstore     {}\nmodule    {}\nkernel    {}\n",
                      printable(reply->vtpmd()), printable(reply->libtpms()),
                      printable(reply->store()), printable(module), printable(reply->kernel())));
    }
  }
  return reply ? Exit::ok : session.report(reply.error());
}

}  // namespace

Action declare_version(Arguments&) { return version; }

}  // namespace vtpm::ctl
