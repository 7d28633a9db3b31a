// SPDX-License-Identifier: Apache-2.0
#include "list_devices.h"
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string action;
  std::vector<std::string> names;
};

// As vtpmd has it now.
Outcome<v1::Device> find_snapshot(Session& session, const std::string& name) {
  v1::ShowRequest request;
  request.set_device(name);
  auto found = session.call(request);
  if (found && found->role() != v1::SNAPSHOT)
    return failure(Exit::not_found, fmt::format("{} is no snapshot", name),
                   "'vtpmctl snapshot list' shows all");
  return found;
}

Exit create(Session& session, const std::vector<std::string>& names) {
  return change_each(
      session, names,
      [&](const std::string& name) {
        v1::SnapshotRequest request;
        request.set_snapshot(name);
        auto taken = session.call(request);
        if (taken) session.say(fmt::format("took {}\n", printable(taken->name())));
        return taken;
      },
      check_snapshot_name);
}

// Of one device if `name` is not empty.
Exit list(Session& session, const std::string& name) {
  std::string prefix;
  if (!name.empty()) {
    if (auto valid = check_name(name); !valid) return session.report(valid.error());
    v1::ShowRequest request;
    request.set_device(name);
    const auto device = session.call(request);
    if (!device) return session.report(device.error());
    prefix = device->name() + "@";
  }
  auto snapshots = list_devices(session, Listed::snapshots);
  if (!snapshots) return session.report(snapshots.error());
  std::erase_if(*snapshots, [&](const v1::Device& one) { return !one.name().starts_with(prefix); });
  Json array = Json::array();
  Table table({"NAME", "TAKEN", "OWNER"});
  for (const v1::Device& one : *snapshots) {
    array.push_back(to_json(one));
    if (session.quiet()) session.print(printable(one.name()) + "\n");
    table.add({{one.name(), Tone::plain},
               one.state() == v1::FAILED ? Cell{word(one.state()), Tone::bad}
                                         : Cell{local_time(one.taken_ns()), Tone::plain},
               {one.owner(), Tone::plain}});
  }
  if (session.json()) {
    session.print_json(array);
  } else if (snapshots->empty()) {
    session.hint("there is no snapshot yet; take one: vtpmctl snapshot create DEVICE@SNAPSHOT");
  } else if (!session.quiet()) {
    session.print(table);
  }
  return Exit::ok;
}

Exit show(Session& session, const std::string& name) {
  if (auto valid = check_snapshot_name(name); !valid) return session.report(valid.error());
  const auto found = find_snapshot(session, name);
  if (!found) return session.report(found.error());
  print_device(session, *found);
  return Exit::ok;
}

Exit remove(Session& session, const std::vector<std::string>& names) {
  Json deleted = Json::array();
  const auto one = [&](const std::string& name) -> Outcome<void> {
    auto connected = session.connect(Role::admin);  // serves the question, too
    if (!connected) return tl::unexpected<Failure>(connected.error());
    const auto found = find_snapshot(session, name);
    if (!found) return tl::unexpected<Failure>(found.error());
    v1::DeleteRequest request;
    request.set_device(found->uuid());
    return delete_one(session, name, request, deleted);
  };
  const Exit exit = for_each_device(session, names, one, check_snapshot_name);
  if (session.json()) session.print_json(deleted);
  return exit;
}

Exit act(Session& session, const Options& options) {
  const auto usage = [&](const std::string& message) {
    return session.report({Exit::usage, message, "vtpmctl snapshot --help"});
  };
  const std::string& action = options.action;
  const std::size_t names = options.names.size();
  if (action == "list") {
    if (names > 1) return usage("'snapshot list' takes one device at most");
    return list(session, names == 0 ? "" : options.names.front());
  }
  if (names == 0) return usage(fmt::format("'snapshot {}' needs a name", action));
  if (action == "create") return create(session, options.names);
  if (action == "delete") return remove(session, options.names);
  if (names > 1) return usage("'snapshot show' takes one name");
  return show(session, options.names.front());
}

}  // namespace

Action declare_snapshot(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.text("ACTION", options->action, "what to do")
      .required()
      .one_of({"create", "list", "show", "delete"});
  arguments.texts("NAME", options->names, "DEVICE@SNAPSHOT; for list, a device");
  return [options](Session& session) { return act(session, *options); };
}

}  // namespace vtpm::ctl
