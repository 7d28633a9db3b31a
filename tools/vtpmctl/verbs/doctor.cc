// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "local_checks.h"
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

constexpr Status kFail = v1::DoctorReply::FAIL;

Tone tone_of(Status status) {
  switch (status) {
    case v1::DoctorReply::OK: return Tone::good;
    case v1::DoctorReply::FAIL: return Tone::bad;
    default: return Tone::doubtful;
  }
}

// Both are looked at, whichever answered.
std::vector<std::filesystem::path> sockets_of(const Session& session, const Environment& env) {
  if (!session.socket_option().empty()) return {session.socket_option()};
  return {env.run_dir / "admin.sock", env.run_dir / "observe.sock"};
}

void print_group(Session& session, std::string_view title, const std::vector<Check>& checks) {
  if (checks.empty()) return;
  std::size_t width = 0;
  for (const Check& check : checks) {
    width = std::max(width, display_width(printable(check.name())));
  }
  session.print(toned(title, Tone::strong, session.color()) + "\n");
  for (const Check& check : checks) {
    const std::string status = word(check.status());
    const std::string name = printable(check.name());
    session.print(
        fmt::format("  {}{}{}{}{}\n", toned(status, tone_of(check.status()), session.color()),
                    std::string(status.size() < 9 ? 9 - status.size() : 1, ' '), name,
                    std::string(width - display_width(name) + 2, ' '), printable(check.finding())));
    if (!check.remedy().empty() && check.status() != v1::DoctorReply::OK) {
      session.print(fmt::format("{}mend: {}\n", std::string(11, ' '), printable(check.remedy())));
    }
  }
}

Exit doctor(Session& session) {
  Environment& env = session.environment();
  auto reply = session.call(v1::DoctorRequest{});

  std::vector<Check> local = local_checks(env, sockets_of(session, env), reply.has_value());
  std::vector<Check> remote;
  if (reply) {
    remote.assign(reply->checks().begin(), reply->checks().end());
  } else {
    local.push_back(make_check("vtpmd", kFail, reply.error().message, reply.error().hint));
  }

  const auto count = [&](Status status) {
    const auto is = [&](const Check& check) { return check.status() == status; };
    return std::count_if(local.begin(), local.end(), is) +
           std::count_if(remote.begin(), remote.end(), is);
  };
  const auto failures = count(kFail);
  if (session.json()) {
    Json checks = Json::array();
    const auto add = [&](const std::vector<Check>& some, const char* source) {
      for (const Check& check : some) {
        checks.push_back(Json{{"source", source},
                              {"name", check.name()},
                              {"status", word(check.status())},
                              {"finding", check.finding()},
                              {"remedy", check.remedy()}});
      }
    };
    add(local, "local");
    add(remote, "vtpmd");
    session.print_json(Json{
        {"vtpmd_reachable", reply.has_value()}, {"healthy", failures == 0}, {"checks", checks}});
  } else {
    print_group(session, "This host", local);
    print_group(session, "vtpmd", remote);
    if (!session.quiet()) {
      const auto warnings = count(v1::DoctorReply::WARNING);
      session.print(
          fmt::format("{} failed, {} warning{}\n", failures, warnings, warnings == 1 ? "" : "s"));
    }
  }
  return failures == 0 ? Exit::ok : Exit::unhealthy;
}

}  // namespace

Action declare_doctor(Arguments&) { return doctor; }

}  // namespace vtpm::ctl
