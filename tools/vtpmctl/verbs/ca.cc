// SPDX-License-Identifier: Apache-2.0
#include "base/bytes.h"
#include "output_file.h"
#include "terminal_text.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string action;
  std::string file;
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
  return {{"subject", root.subject()},
          {"sha256", to_hex(as_bytes(root.sha256()))},
          {"not_before", day(root.not_before())},
          {"not_after", root.not_after() >= kNoEnd ? Json(nullptr) : Json(day(root.not_after()))},
          {"families", root.families()},
          {"certificate", root.pem()}};
}

Exit show(Session& session, const v1::CaCertificateReply& root) {
  session.print(
      fmt::format("subject      {}\nsha256       {}\nvalid from   {}\nvalid until  {}\n"
                  "families     {} certified since vtpmd started\n",
                  printable(root.subject()), fingerprint(root.sha256()), day(root.not_before()),
                  day(root.not_after()), root.families()));
  return Exit::ok;
}

Exit act(Session& session, const Options& options) {
  if (options.action == "show" && !options.file.empty())
    return session.report({Exit::usage, "'ca show' takes no file", "vtpmctl ca export FILE"});
  const auto root = session.call(v1::CaCertificateRequest());
  if (!root) return session.report(root.error());
  if (!options.file.empty()) {
    if (const auto done = write_file(options.file, root->pem()); !done)
      return session.report(done.error());
  }
  if (session.json()) {
    session.print_json(to_json(*root));
    return Exit::ok;
  }
  if (options.action == "show") return show(session, *root);
  if (options.file.empty())
    session.print(root->pem());
  else if (!session.quiet())
    session.print(fmt::format("wrote {}\nsha256  {}\n", printable(options.file),
                              fingerprint(root->sha256())));
  return Exit::ok;
}

}  // namespace

Action declare_ca(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.text("ACTION", options->action, "show: what it is; export: write it as PEM")
      .required()
      .one_of({"show", "export"});
  arguments.text("FILE", options->file, "where export writes to; standard output if none is given");
  return [options](Session& session) { return act(session, *options); };
}

}  // namespace vtpm::ctl
