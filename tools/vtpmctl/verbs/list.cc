// SPDX-License-Identifier: Apache-2.0
#include "device_text.h"
#include "list_devices.h"
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

Cell condition(const v1::Device& device) {
  if (device.role() == v1::QUARANTINED) return {word(device.role()), Tone::bad};
  if (device.role() == v1::RETIRED) return {word(device.role()), Tone::plain};
  return {word(device.state()), tone(device.state())};
}

Exit list(Session& session) {
  auto devices = list_devices(session, Listed::devices);
  if (!devices) return session.report(devices.error());
  if (session.json()) {
    Json array = Json::array();
    for (const v1::Device& device : *devices) array.push_back(to_json(device));
    session.print_json(array);
  } else if (session.quiet()) {
    for (const v1::Device& device : *devices) session.print(printable(device.name()) + "\n");
  } else if (!devices->empty()) {
    Table table({"NAME", "STATE", "MODE", "FOR", "NODE", "DENIED", "OWNER"});
    for (const v1::Device& device : *devices) {
      const std::string path = client_path(device);
      table.add({{device.name(), Tone::plain},
                 condition(device),
                 {word(device.mode()), Tone::plain},
                 {word(device.kind()), Tone::plain},
                 {path.empty() ? word(device.node()) : path, Tone::plain},
                 {std::to_string(device.denied()), Tone::plain},
                 {device.owner(), Tone::plain}});
    }
    session.print(table);
  }
  if (devices->empty())
    session.hint("there is no device yet; make one: vtpmctl create NAME --start");
  return Exit::ok;
}

}  // namespace

Action declare_list(Arguments&) { return list; }

}  // namespace vtpm::ctl
