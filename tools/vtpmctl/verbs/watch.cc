// SPDX-License-Identifier: Apache-2.0
#include "device_text.h"
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

std::string what_happened(const v1::Event& event, bool color) {
  const v1::Device& device = event.device();
  switch (event.type()) {
    case v1::Event::CREATED: return fmt::format("created: {}", word(device.mode()));
    case v1::Event::STATE_CHANGED: {
      std::string out = toned(word(device.state()), tone(device.state()), color);
      const std::string& more =
          device.state() == v1::FAILED ? device.failure() : client_path(device);
      if (!more.empty() && device.state() != v1::OFF) out += ": " + printable(more);
      return out;
    }
    case v1::Event::DENIED_COMMAND: {
      const v1::DeniedCommand& denied = event.denied();
      std::string out =
          fmt::format("denied {}: {}", printable(command_text(denied)), printable(denied.reason()));
      if (denied.suppressed() > 0) out += fmt::format(" (and {} more)", denied.suppressed());
      return out;
    }
    case v1::Event::DELETED: return "deleted";
    case v1::Event::WORKER_REPLACED:
      return fmt::format("worker replaced ({} since vtpmd started)", device.restarts());
    default: return word(event.type());
  }
}

std::string line_of(const v1::Event& event, bool color) {
  const std::string name =
      printable(event.device().name().empty() ? event.denied().name() : event.device().name());
  const std::size_t width = display_width(name);
  constexpr std::size_t kNameColumn = 16;
  return fmt::format("{}  {}{}  {}\n", local_time(event.time_ns()), name,
                     std::string(width < kNameColumn ? kNameColumn - width : 0, ' '),
                     what_happened(event, color));
}

Exit watch(Session& session, const std::string& name) {
  v1::WatchRequest request;
  if (!name.empty()) {
    if (auto valid = check_name(name); !valid) return session.report(valid.error());
    request.set_device(name);
  }
  auto connection = session.connect(Role::observe);
  if (!connection) return session.report(connection.error());
  session.tip("watching; end with Ctrl-C");
  bool taken = true;
  const auto ended = session.watch(request, [&](const v1::Event& event) {
    if (session.json()) {
      session.print_json_line(to_json(event));
    } else {
      session.print(line_of(event, session.color()));
    }
    taken = session.flush();  // a reader of the pipe sees it now
    return taken;
  });
  if (!ended) return session.report(ended.error());
  if (!taken) return Exit::failed;  // the caller reports the broken output
  // Nobody has interrupted it, so this is not how a watch ends well.
  return session.report(
      {Exit::unreachable, "vtpmd has ended the watch: it is going down", "systemctl status vtpmd"});
}

}  // namespace

Action declare_watch(Arguments& arguments) {
  auto name = std::make_shared<std::string>();
  arguments.text("NAME", *name, "name or uuid of a device; default: all");
  return [name](Session& session) { return watch(session, *name); };
}

}  // namespace vtpm::ctl
