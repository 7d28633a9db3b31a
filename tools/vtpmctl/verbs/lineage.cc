// SPDX-License-Identifier: Apache-2.0
#include <map>

#include "identity/event.h"
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string name;
  bool dot = false;
};

// What happened, and to whom it led.
struct Node {
  identity::Event event;
  std::string lineage;  // LINEAGE after it, in hexadecimal
  std::string name;     // of the device, if there is one now
};
// By the lineage that they went on from: the birth by zeros.
using Tree = std::multimap<std::string, Node>;

Outcome<Tree> tree_of(const v1::LineageReply& reply) {
  std::map<std::string, std::string> names;
  for (const auto& member : reply.members()) names[member.uuid()] = member.name();
  Tree tree;
  for (const std::string& json : reply.events()) {
    const auto event = identity::parse_event(json);
    if (!event) return failure(Exit::failed, "vtpmd sent an event that this vtpmctl cannot read");
    const auto digest = identity::digest_of(*event);
    const auto lineage = digest ? identity::extended(event->parent_lineage, *digest) : digest;
    if (!lineage) return failure(Exit::failed, lineage.error().message);
    tree.emplace(to_hex(event->parent_lineage),
                 Node{*event, to_hex(*lineage), names[event->device.to_string()]});
  }
  return tree;
}

std::string label(const Node& node, const std::string& device) {
  const std::string uuid = node.event.device.to_string();
  const std::string name = node.name.empty() ? uuid + " (not on this host)" : node.name;
  return fmt::format("{}{}  {}, generation {}, {}", uuid == device ? "* " : "", name,
                     identity::to_string(node.event.kind), node.event.generation,
                     utc_time(node.event.time * 1'000'000'000).substr(0, 19) + "Z");
}

void draw(const Tree& tree, const std::string& from, const std::string& indent,
          const std::string& device, std::string& out) {
  const auto [first, end] = tree.equal_range(from);
  for (auto at = first; at != end; ++at) {
    const bool last = std::next(at) == end;
    const bool root = indent.empty();
    out += root ? "" : indent.substr(2) + (last ? "`-- " : "|-- ");
    out += printable(label(at->second, device)) + "\n";
    draw(tree, at->second.lineage, indent + (root ? "  " : last ? "    " : "|   "), device, out);
  }
}

std::string dot(const Tree& tree) {
  std::string out = "digraph lineage {\n";
  for (const auto& [from, node] : tree) {
    const std::string name =
        valid_name(node.name) ? node.name : node.event.device.to_string().substr(0, 8);
    out += fmt::format("  \"{}\" [label=\"{}\\n{} {}\"];\n", node.lineage.substr(0, 16), name,
                       identity::to_string(node.event.kind), node.event.generation);
    if (node.event.parent)
      out += fmt::format("  \"{}\" -> \"{}\";\n", from.substr(0, 16), node.lineage.substr(0, 16));
  }
  return out + "}\n";
}

Json to_json(const Tree& tree) {
  Json events = Json::array();
  for (const auto& [from, node] : tree) {
    const identity::Event& event = node.event;
    events.push_back({{"kind", std::string(identity::to_string(event.kind))},
                      {"device", event.device.to_string()},
                      {"name", node.name.empty() ? Json(nullptr) : Json(node.name)},
                      {"parent", event.parent ? Json(event.parent->to_string()) : Json(nullptr)},
                      {"parent_lineage", from},
                      {"lineage", node.lineage},
                      {"generation", event.generation},
                      {"time", event.time}});
  }
  return events;
}

Exit lineage(Session& session, const Options& options) {
  if (auto valid = check_name(options.name); !valid) return session.report(valid.error());
  v1::LineageRequest request;
  request.set_device(options.name);
  const auto reply = session.call(request);
  if (!reply) return session.report(reply.error());
  const auto tree = tree_of(*reply);
  if (!tree) return session.report(tree.error());
  if (session.json()) {
    session.print_json(
        {{"name", reply->name()}, {"uuid", reply->uuid()}, {"events", to_json(*tree)}});
  } else if (options.dot) {
    session.print(dot(*tree));
  } else {
    std::string out;
    draw(*tree, std::string(2 * identity::Digest().size(), '0'), "", reply->uuid(), out);
    session.print(out);
  }
  return Exit::ok;
}

}  // namespace

Action declare_lineage(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.text("NAME", options->name, "name or uuid of the device").required();
  arguments.flag("--dot", options->dot, "as a graph for dot(1)");
  return [options](Session& session) { return lineage(session, *options); };
}

}  // namespace vtpm::ctl
