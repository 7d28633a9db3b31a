// SPDX-License-Identifier: Apache-2.0
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

std::string numbers(std::uint32_t major, std::uint32_t minor) {
  return fmt::format(" ({}:{})", major, minor);
}

std::string text_of(const v1::Device& device, bool color) {
  std::string out;
  const auto line = [&](std::string_view what, const std::string& value, Tone tone = Tone::plain) {
    if (value.empty()) return;
    out += fmt::format("{:<18}{}\n", what, toned(printable(value), tone, color));
  };
  line("name", device.name(), Tone::strong);
  line("uuid", device.uuid());
  line("owner", device.owner());
  if (device.role() != v1::DEVICE) line("role", word(device.role()));
  line("for", word(device.kind()));
  line("mode", word(device.mode()));
  if (device.role() == v1::SNAPSHOT)
    line("taken", local_time(device.taken_ns()));
  else
    line("identity", device.has_identity() ? "of its own" : "none");
  if (device.cert_profile() != v1::AS_VTPMD) line("certificates", word(device.cert_profile()));
  line("state", word(device.state()), tone(device.state()));
  line("failure", device.failure(), Tone::bad);
  line("waits for", device.waits_for(), Tone::bad);
  line("node", word(device.node()));
  if (!device.device_path().empty()) {
    line("device", device.device_path() + numbers(device.dev_major(), device.dev_minor()));
  }
  if (!device.rm_device_path().empty()) {
    line("resource manager",
         device.rm_device_path() + numbers(device.devrm_major(), device.devrm_minor()));
  }
  line("socket", device.socket_path());
  if (!device.socket_path().empty()) line("control socket", device.socket_path() + ".ctrl");
  line("event log", device.event_log());
  if (device.linux_hmac()) line("compat", "linux-hmac");
  line("command timeout", duration_text(device.command_timeout_ms()));
  line("detach timeout", duration_text(device.detach_timeout_ms()));
  if (device.has_park_after_s()) line("parked after", idle_time_text(device.park_after_s()));
  line("last command", device.sequence() == 0 ? "none" : fmt::format("#{}", device.sequence()));
  line("stored as", fmt::format("epoch {}, generation {}", device.epoch(), device.generation()));
  line("worker", device.worker_pid() == 0 ? "none" : fmt::format("pid {}", device.worker_pid()));
  line("workers replaced", std::to_string(device.restarts()));
  if (device.wakes() != 0) line("woken", fmt::format("{} times", device.wakes()));
  line("commands denied", std::to_string(device.denied()));
  line("writes slowed", std::to_string(device.throttled()));
  return out;
}

Exit show(Session& session, const std::string& name) {
  if (auto valid = check_name(name); !valid) return session.report(valid.error());
  v1::ShowRequest request;
  request.set_device(name);
  auto device = session.call(request);
  if (!device) return session.report(device.error());
  print_device(session, *device);
  if (device->state() == v1::FAILED) {
    session.tip(fmt::format("a power cycle starts it afresh: vtpmctl power-cycle {}", name));
  }
  return Exit::ok;
}

}  // namespace

void print_device(Session& session, const v1::Device& device) {
  if (session.json())
    session.print_json(to_json(device));
  else
    session.print(text_of(device, session.color()));
}

Action declare_show(Arguments& arguments) {
  auto name = std::make_shared<std::string>();
  arguments.text("NAME", *name, "name or uuid of the device").required();
  return [name](Session& session) { return show(session, *name); };
}

}  // namespace vtpm::ctl
