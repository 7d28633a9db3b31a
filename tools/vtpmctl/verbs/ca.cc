// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"
#include "identity/revocation_list.h"
#include "input_file.h"
#include "output_file.h"
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string action;
  std::string file;
  std::string common_name;
  std::string organization;
  std::uint32_t days = 0;
  std::string request;
  bool keep_families = false;
  bool external_key = false;
  std::string folder;
  std::string device;
  std::uint32_t valid_days = 7;
};

constexpr std::int64_t kNoEnd = 253402300799;  // 9999-12-31T23:59:59Z, RFC 5280, 4.1.2.5
constexpr std::int64_t kNanoseconds = 1'000'000'000;

// Ten characters of the date are enough, and 9999 is past what nanoseconds in 64 bits reach.
std::string day(std::int64_t seconds) {
  return seconds >= kNoEnd ? "no end" : utc_time(seconds * kNanoseconds).substr(0, 10);
}

// Colons between the bytes, as other tools show it.
std::string fingerprint(const std::string& sha256) {
  std::string out;
  for (const char byte : sha256) {
    if (!out.empty()) out += ':';
    out += fmt::format("{:02X}", static_cast<unsigned char>(byte));
  }
  return out;
}

Json to_json(const v1::CaCertificateReply& root) {
  Json between = Json::array();
  for (const std::string& pem : root.between()) between.push_back(pem);
  return {{"between", between},
          {"requested", root.requested()},
          {"key_is_outside", root.key_is_outside()},
          {"subject", root.subject()},
          {"sha256", to_hex(as_bytes(root.sha256()))},
          {"not_before", day(root.not_before())},
          {"not_after", root.not_after() >= kNoEnd ? Json(nullptr) : Json(day(root.not_after()))},
          {"families", root.families()},
          {"certificate", root.pem()}};
}

// What the host has; its root is what verifiers trust.
void show(Session& session, const v1::CaCertificateReply& root) {
  session.print(
      fmt::format("subject      {}\nsha256       {}\nvalid from   {}\nvalid until  {}\n"
                  "families     {} certified since vtpmd started\n",
                  printable(root.subject()), fingerprint(root.sha256()), day(root.not_before()),
                  day(root.not_after()), root.families()));
  if (!root.between().empty())
    session.print(fmt::format("host         below this root, by {} {}\n", root.between_size(),
                              root.between_size() == 1 ? "certificate" : "certificates"));
  session.print(root.key_is_outside()
                    ? "key          outside of vtpmd: its --ca-sign-command signs\n"
                    : "key          in the store, sealed under the host key\n");
  if (root.requested())
    session.print("requested    a certificate that has not been imported yet\n");
}

Exit show_or_export(Session& session, const Options& options) {
  const auto root = session.call(v1::CaCertificateRequest());
  if (!root) return session.report(root.error());
  if (!options.file.empty()) {
    if (const auto done = write_file(options.file, root->pem()); !done)
      return session.report(done.error());
  }
  if (session.json())
    session.print_json(to_json(*root));
  else if (options.action == "show")
    show(session, *root);
  else if (options.file.empty())
    session.print(root->pem());
  else
    session.say(fmt::format("wrote {}\nsha256  {}\n", printable(options.file),
                            fingerprint(root->sha256())));
  return Exit::ok;
}

template <class Request>
Exit change(Session& session, const Request& request) {
  const auto root = session.call(request);
  if (!root) return session.report(root.error());
  if (session.json())
    session.print_json(to_json(*root));
  else if (!session.quiet())
    show(session, *root);
  return Exit::ok;
}

Exit ask_for_certificate(Session& session, const Options& options) {
  v1::CaRequestRequest request;
  request.mutable_subject()->set_common_name(options.common_name);
  request.mutable_subject()->set_organization(options.organization);
  const auto reply = session.call(request);
  if (!reply) return session.report(reply.error());
  if (const auto done = write_file(options.request, reply->pem()); !done)
    return session.report(done.error());
  if (session.json()) session.print_json(Json{{"request", reply->pem()}});
  session.say(fmt::format("wrote {}\n", printable(options.request)));
  session.tip("have it signed as an authority's, then 'vtpmctl ca import CHAIN.pem'");
  return Exit::ok;
}

Exit import(Session& session, const Options& options) {
  const auto pem = read_file(options.file);
  if (!pem) return session.report(pem.error());
  v1::CaImportRequest request;
  request.set_pem(*pem);
  request.set_keep_families(options.keep_families);
  request.set_external_key(options.external_key);
  return change(session, request);
}

Exit init(Session& session, const Options& options) {
  if (!options.request.empty()) return ask_for_certificate(session, options);
  v1::CaInitRequest request;
  request.mutable_subject()->set_common_name(options.common_name);
  request.mutable_subject()->set_organization(options.organization);
  request.set_days(options.days);
  return change(session, request);
}

// DER, each in a file of the name that certificates tell.
Outcome<void> write_lists(Session& session, const std::string& folder,
                          const v1::RevocationListsReply& reply) {
  if (auto made = make_folder(folder); !made) return made;
  for (const auto& list : reply.lists()) {
    const std::string path = folder + "/" + to_hex(as_bytes(list.issuer_key())) + ".crl";
    if (auto done = write_file(path, list.der()); !done) return done;
    session.say("wrote " + printable(path) + "\n");
  }
  return {};
}

Outcome<std::string> lists_as_pem(const v1::RevocationListsReply& reply) {
  std::string all;
  for (const auto& list : reply.lists()) {
    const auto pem = identity::list_to_pem(as_bytes(list.der()));
    if (!pem) return failure(Exit::failed, pem.error().message);
    all += *pem;
  }
  return all;
}

Json to_json(const v1::RevocationListsReply& reply, const std::string& pem) {
  Json lists = Json::array();
  for (const auto& list : reply.lists())
    lists.push_back(
        {{"issuer_key", to_hex(as_bytes(list.issuer_key()))}, {"entries", list.entries()}});
  return {
      {"number", reply.number()}, {"elsewhere", reply.elsewhere()}, {"lists", lists}, {"crl", pem}};
}

Exit crl(Session& session, const Options& options) {
  v1::RevocationListsRequest request;
  request.set_device(options.device);
  request.set_days(options.valid_days);
  const auto reply = session.call(request);
  if (!reply) return session.report(reply.error());
  const auto pem = lists_as_pem(*reply);
  if (!pem) return session.report(pem.error());
  if (!options.folder.empty()) {
    if (const auto done = write_lists(session, options.folder, *reply); !done)
      return session.report(done.error());
  }
  if (!options.file.empty()) {
    if (const auto done = write_file(options.file, *pem); !done)
      return session.report(done.error());
    session.say(fmt::format("wrote {}: {} {}, number {}\n", printable(options.file),
                            reply->lists_size(), reply->lists_size() == 1 ? "list" : "lists",
                            reply->number()));
  }
  if (session.json())
    session.print_json(to_json(*reply, *pem));
  else if (options.file.empty() && options.folder.empty())
    session.print(*pem);
  if (reply->elsewhere() > 0)
    session.hint(
        fmt::format("{} revoked certificates are in no list: their issuers' keys are on "
                    "other hosts",
                    reply->elsewhere()));
  return Exit::ok;
}

// Each option belongs to one action.
Outcome<void> check(const Options& options) {
  const auto misplaced = [](const char* what) -> Outcome<void> {
    return failure(Exit::usage, what, "vtpmctl ca --help");
  };
  const bool is_init = options.action == "init";
  const bool named = !options.common_name.empty() || !options.organization.empty();
  if (!is_init && (named || options.days != 0 || !options.request.empty()))
    return misplaced("--common-name, --organization, --days and --csr are of 'ca init'");
  if ((options.keep_families || options.external_key) && options.action != "import")
    return misplaced("--keep-families and --external-key are of 'ca import'");
  const bool of_lists =
      !options.folder.empty() || !options.device.empty() || options.valid_days != 7;
  if (of_lists && options.action != "crl")
    return misplaced("--folder, --device and --valid-days are of 'ca crl'");
  if (options.days != 0 && !options.request.empty())
    return misplaced("who signs the request says how long the certificate is valid, not --days");
  if (!options.file.empty() && options.action == "show")
    return misplaced("'ca show' takes no file");
  if (!options.file.empty() && is_init)
    return misplaced("'ca init' writes a request with --csr FILE");
  if (options.file.empty() && options.action == "import")
    return misplaced("'ca import' needs the file of the certificate with its chain");
  return {};
}

Exit act(Session& session, const Options& options) {
  if (const auto good = check(options); !good) return session.report(good.error());
  if (options.action == "init") return init(session, options);
  if (options.action == "import") return import(session, options);
  if (options.action == "crl") return crl(session, options);
  return show_or_export(session, options);
}

}  // namespace

Action declare_ca(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments
      .text("ACTION", options->action,
            "show: what it is; export: write the root as PEM; init: make one, or ask for a "
            "certificate; import: take that; crl: make the revocation lists")
      .required()
      .one_of({"show", "export", "init", "import", "crl"});
  arguments.text("FILE", options->file,
                 "where export and crl write to, standard output if none is given; what import "
                 "reads: PEM");
  arguments.text("--common-name", options->common_name, "of init: who the authority is");
  arguments.text("--organization", options->organization, "of init: whose it is");
  arguments.number("--days", options->days, "of init: how long its root is valid; 0 = without end")
      .between(0, 36500);
  arguments.text("--csr", options->request,
                 "of init: write a request here, for a certificate below a root of yours");
  arguments.flag("--keep-families", options->keep_families,
                 "of import: those that there are stay under the authority of before");
  arguments.flag("--external-key", options->external_key,
                 "of import: the key of the first certificate is where vtpmd --ca-sign-command "
                 "signs with it");
  arguments.text("--folder", options->folder,
                 "of crl: write each list here, DER, as certificates with --crl-url name it");
  arguments.text("--device", options->device, "of crl: those above this device alone");
  arguments.number("--valid-days", options->valid_days, "of crl: when the next ones are due")
      .between(1, 3650);
  return [options](Session& session) { return act(session, *options); };
}

}  // namespace vtpm::ctl
