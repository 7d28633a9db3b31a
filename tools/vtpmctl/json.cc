// SPDX-License-Identifier: Apache-2.0
#include "json.h"

#include "words.h"

namespace vtpm::ctl {

Json to_json(const v1::Device& device) {
  return Json{
      {"name", device.name()},
      {"uuid", device.uuid()},
      {"owner", device.owner()},
      {"role", word(device.role())},
      {"kind", word(device.kind())},
      {"mode", word(device.mode())},
      {"node", word(device.node())},
      {"state", word(device.state())},
      {"failure", device.failure()},
      {"device_path", device.device_path()},
      {"rm_device_path", device.rm_device_path()},
      {"dev_major", device.dev_major()},
      {"dev_minor", device.dev_minor()},
      {"devrm_major", device.devrm_major()},
      {"devrm_minor", device.devrm_minor()},
      {"socket_path", device.socket_path()},
      {"linux_hmac", device.linux_hmac()},
      {"epoch", device.epoch()},
      {"generation", device.generation()},
      {"sequence", device.sequence()},
      {"worker_pid", device.worker_pid()},
      {"denied", device.denied()},
      {"restarts", device.restarts()},
      {"throttled", device.throttled()},
      {"wakes", device.wakes()},
      {"waits_for", device.waits_for()},
      {"command_timeout_ms", device.command_timeout_ms()},
      {"detach_timeout_ms", device.detach_timeout_ms()},
      {"park_after_s", device.has_park_after_s() ? Json(device.park_after_s()) : Json(nullptr)},
      {"cert_profile", word(device.cert_profile())},
      {"has_identity", device.has_identity()},
      {"taken", device.taken_ns() == 0 ? Json(nullptr) : Json(utc_time(device.taken_ns()))},
      {"event_log", device.event_log()},
  };
}

Json to_json(const v1::DeniedCommand& denied) {
  return Json{
      {"time", utc_time(denied.time_ns())},
      {"time_ns", denied.time_ns()},
      {"name", denied.name()},
      {"uuid", denied.uuid()},
      {"command", denied.command()},
      {"command_code", denied.command_code()},
      {"reason", denied.reason()},
      {"locality", denied.locality()},
      {"response_code", denied.response_code()},
      {"response", response_code_name(denied.response_code())},
      {"sequence", denied.sequence()},
      {"suppressed", denied.suppressed()},
  };
}

Json to_json(const v1::Event& event) {
  return Json{
      {"time", utc_time(event.time_ns())},
      {"time_ns", event.time_ns()},
      {"type", word(event.type())},
      {"device", event.has_device() ? to_json(event.device()) : Json(nullptr)},
      {"denied", event.has_denied() ? to_json(event.denied()) : Json(nullptr)},
  };
}

std::string dump(const Json& json, int indent) {
  return json.dump(indent, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace vtpm::ctl
