// SPDX-License-Identifier: Apache-2.0
#include "identity/pem.h"
#include "output_file.h"
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string action;
  std::string name;
  std::string folder;
};

// Names come from vtpmd, and become parts of paths.
std::vector<std::pair<std::string, std::string>> files_of(const v1::LineageReply& reply) {
  std::vector<std::pair<std::string, std::string>> files = {{"root.pem", reply.root()},
                                                            {"family.pem", reply.family()}};
  for (const auto& certificate : reply.certificates())
    if (valid_name(certificate.name()))
      files.emplace_back(certificate.name() + ".pem", certificate.pem());
  files.emplace_back("log.jsonl", reply.log());
  return files;
}

Outcome<void> export_to(const std::string& folder, const v1::LineageReply& reply) {
  if (auto made = make_folder(folder); !made) return made;
  for (const auto& [name, content] : files_of(reply))
    if (auto done = write_file(fmt::format("{}/{}", folder, name), content); !done) return done;
  return {};
}

Json to_json(const v1::LineageReply& reply) {
  Json keys = Json::object();
  for (const auto& certificate : reply.certificates()) keys[certificate.name()] = certificate.pem();
  return {{"name", reply.name()},     {"uuid", reply.uuid()}, {"root", reply.root()},
          {"family", reply.family()}, {"keys", keys},         {"log", reply.log()}};
}

Outcome<void> show(Session& session, const v1::LineageReply& reply) {
  Table table({"CERTIFICATE", "SHA256", "GENERATION"});
  for (const auto& [name, content] : files_of(reply)) {
    if (!name.ends_with(".pem")) continue;
    const auto described = identity::describe_certificate(content);
    if (!described) return failure(Exit::failed, name + ": " + described.error().message);
    table.add({{name.substr(0, name.size() - 4)},
               {to_hex(described->sha256)},
               {described->generation == 0 ? "-" : std::to_string(described->generation)}});
  }
  session.print(table);
  return {};
}

Exit act(Session& session, const Options& options) {
  if (options.action == "show" && !options.folder.empty())
    return session.report(
        {Exit::usage, "'cert show' takes no folder", "vtpmctl cert export NAME FOLDER"});
  if (options.action == "export" && options.folder.empty())
    return session.report(
        {Exit::usage, "'cert export' needs a folder", "vtpmctl cert export NAME FOLDER"});
  if (auto valid = check_name(options.name); !valid) return session.report(valid.error());
  v1::LineageRequest request;
  request.set_device(options.name);
  const auto reply = session.call(request);
  if (!reply) return session.report(reply.error());
  if (!options.folder.empty()) {
    if (const auto done = export_to(options.folder, *reply); !done)
      return session.report(done.error());
    for (const auto& [name, content] : files_of(*reply))
      session.say("wrote " + printable(options.folder + "/" + name) + "\n");
  }
  if (session.json()) {
    session.print_json(to_json(*reply));
  } else if (options.folder.empty()) {
    if (const auto done = show(session, *reply); !done) return session.report(done.error());
  }
  return Exit::ok;
}

}  // namespace

Action declare_cert(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.text("ACTION", options->action, "show: what there is; export: write it as PEM")
      .required()
      .one_of({"show", "export"});
  arguments.text("NAME", options->name, "name or uuid of the device").required();
  arguments.text("FOLDER", options->folder,
                 "where export writes root.pem, family.pem, a file for "
                 "each key, and log.jsonl");
  return [options](Session& session) { return act(session, *options); };
}

}  // namespace vtpm::ctl
