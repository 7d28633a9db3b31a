// SPDX-License-Identifier: Apache-2.0
#include "list_devices.h"
#include "terminal_text.h"
#include "verbs/creation.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string action;
  std::vector<std::string> names;
  NewDevice device;
};

// As vtpmd has it now; a device that is no template is not found.
Outcome<v1::Device> find_template(Session& session, const std::string& name) {
  v1::ShowRequest request;
  request.set_device(name);
  auto device = session.call(request);
  if (device && device->role() != v1::TEMPLATE) {
    return failure(Exit::not_found, fmt::format("{} is a device, and no template", name),
                   "'vtpmctl template list' shows all");
  }
  return device;
}

Exit create(Session& session, const Options& options) {
  auto request = request_of(options.device);
  if (!request) return session.report(request.error());
  request->set_role(v1::TEMPLATE);
  return create_each(session, options.names, false, [&](const std::string& name) {
    request->set_name(name);
    return session.call(*request);
  });
}

Exit list(Session& session) {
  const auto templates = list_devices(session, Listed::templates);
  if (!templates) return session.report(templates.error());
  Json array = Json::array();
  Table table({"NAME", "FOR", "NODE", "OWNER"});
  for (const v1::Device& one : *templates) {
    array.push_back(to_json(one));
    if (session.quiet()) session.print(printable(one.name()) + "\n");
    table.add({{one.name(), Tone::plain},
               {word(one.kind()), Tone::plain},
               {word(one.node()), Tone::plain},
               {one.owner(), Tone::plain}});
  }
  if (session.json()) {
    session.print_json(array);
  } else if (templates->empty()) {
    session.hint("there is no template yet; make one: vtpmctl template create NAME");
  } else if (!session.quiet()) {
    session.print(table);
  }
  return Exit::ok;
}

Exit show(Session& session, const std::string& name) {
  if (auto valid = check_name(name); !valid) return session.report(valid.error());
  const auto found = find_template(session, name);
  if (!found) return session.report(found.error());
  print_device(session, *found);
  return Exit::ok;
}

Exit remove(Session& session, const Options& options) {
  Json deleted = Json::array();
  const Exit exit =
      for_each_device(session, options.names, [&](const std::string& name) -> Outcome<void> {
        auto connected = session.connect(Role::admin);  // serves the question, too
        if (!connected) return tl::unexpected<Failure>(connected.error());
        const auto found = find_template(session, name);
        if (!found) return tl::unexpected<Failure>(found.error());
        v1::DeleteRequest request;
        request.set_device(found->uuid());
        return delete_one(session, name, request, deleted);
      });
  if (session.json()) session.print_json(deleted);
  return exit;
}

Exit act(Session& session, const Options& options) {
  const auto usage = [&](const std::string& message) {
    return session.report({Exit::usage, message, "vtpmctl template --help"});
  };
  const std::string& action = options.action;
  if (action != "create" && !(options.device == NewDevice{}))
    return usage(fmt::format("'template {}' takes no settings", action));
  if (action == "list")
    return options.names.empty() ? list(session) : usage("'template list' takes no names");
  if (options.names.empty()) return usage(fmt::format("'template {}' needs a name", action));
  if (action == "show" && options.names.size() > 1) return usage("'template show' takes one name");
  if (action == "create") return create(session, options);
  if (action == "delete") return remove(session, options);
  return show(session, options.names.front());
}

}  // namespace

Action declare_template(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.text("ACTION", options->action, "what to do")
      .required()
      .one_of({"create", "list", "show", "delete"});
  arguments.texts("NAME", options->names, "names of templates");
  declare_settings(arguments, options->device);
  return [options](Session& session) { return act(session, *options); };
}

}  // namespace vtpm::ctl
