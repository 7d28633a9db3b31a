// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"
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

// Each option belongs to one action.
Outcome<void> check(const Options& options) {
  const auto misplaced = [](const char* what) -> Outcome<void> {
    return failure(Exit::usage, what, "vtpmctl ca --help");
  };
  const bool is_init = options.action == "init";
  const bool named = !options.common_name.empty() || !options.organization.empty();
  if (!is_init && (named || options.days != 0 || !options.request.empty()))
    return misplaced("--common-name, --organization, --days and --csr are of 'ca init'");
  if (options.keep_families && options.action != "import")
    return misplaced("--keep-families is of 'ca import'");
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
  return show_or_export(session, options);
}

}  // namespace

Action declare_ca(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments
      .text("ACTION", options->action,
            "show: what it is; export: write the root as PEM; init: make one, or ask for a "
            "certificate; import: take that")
      .required()
      .one_of({"show", "export", "init", "import"});
  arguments.text("FILE", options->file,
                 "where export writes to, standard output if none is given; what import reads: "
                 "PEM");
  arguments.text("--common-name", options->common_name, "of init: who the authority is");
  arguments.text("--organization", options->organization, "of init: whose it is");
  arguments.number("--days", options->days, "of init: how long its root is valid; 0 = without end")
      .between(0, 36500);
  arguments.text("--csr", options->request,
                 "of init: write a request here, for a certificate below a root of yours");
  arguments.flag("--keep-families", options->keep_families,
                 "of import: those that there are stay under the authority of before");
  return [options](Session& session) { return act(session, *options); };
}

}  // namespace vtpm::ctl
