// SPDX-License-Identifier: Apache-2.0
#include "identity/verify.h"

#include "base/bytes.h"
#include "identity/pem.h"
#include "input_file.h"
#include "verbs/verbs.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::string folder;
  std::string root;
  std::string key = "iak";
  std::vector<std::string> kin;
  std::string lists;
  std::uint32_t least_generation = 0;
  std::string nonce;
  std::string proof;
};

Outcome<identity::PemContent> read_certificates(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return tl::unexpected<Failure>(text.error());
  auto content = identity::read_pem(*text);
  if (!content) return failure(Exit::failed, path + ": " + content.error().message);
  return *std::move(content);
}

// The first one in the file; what follows it is from its chain.
Outcome<Bytes> read_certificate(const std::string& path, std::vector<Bytes>& chain) {
  auto content = read_certificates(path);
  if (!content) return tl::unexpected<Failure>(content.error());
  auto& all = content->certificates;
  if (all.empty()) return failure(Exit::failed, path + " holds no certificate");
  chain.insert(chain.end(), all.begin() + 1, all.end());
  return std::move(all.front());
}

Outcome<Bytes> read_bytes(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return tl::unexpected<Failure>(text.error());
  return to_bytes(as_bytes(*text));
}

// Takes what one of the files gave; the first that cannot be read is remembered.
template <class T>
void take(Outcome<T> from, T& to, Outcome<void>& all) {
  if (from)
    to = *std::move(from);
  else if (all)
    all = tl::unexpected<Failure>(from.error());
}

Outcome<identity::LiveProof> read_proof(const Options& options) {
  identity::LiveProof proof;
  const auto nonce = from_hex(options.nonce);
  if (!nonce || nonce->empty())
    return failure(Exit::usage, "--nonce: hexadecimal digits, as they were given to the TPM");
  proof.nonce = *nonce;
  Outcome<void> all;
  take(read_bytes(options.proof + "/lineage.attest"), proof.lineage.attest, all);
  take(read_bytes(options.proof + "/lineage.sig"), proof.lineage.signature, all);
  take(read_bytes(options.proof + "/generation.attest"), proof.generation.attest, all);
  take(read_bytes(options.proof + "/generation.sig"), proof.generation.signature, all);
  if (!all) return tl::unexpected<Failure>(all.error());
  return proof;
}

Outcome<identity::Evidence> read_evidence(const Options& options) {
  if (options.nonce.empty() != options.proof.empty())
    return failure(Exit::usage, "--nonce and --proof belong together");
  identity::Evidence evidence;
  evidence.least_generation = options.least_generation;
  Outcome<void> all;
  std::vector<Bytes>& issuers = evidence.issuers;
  std::vector<Bytes> unused;
  take(read_certificate(options.root, unused), evidence.root, all);
  Bytes family;
  take(read_certificate(options.folder + "/family.pem", issuers), family, all);
  issuers.push_back(std::move(family));
  take(read_certificate(options.folder + "/" + options.key + ".pem", issuers), evidence.certificate,
       all);
  take(read_file(options.folder + "/log.jsonl"), evidence.log, all);
  for (const std::string& path : options.kin)
    take(read_certificate(path, issuers), evidence.kin.emplace_back(), all);
  if (!options.lists.empty()) {
    identity::PemContent content;
    take(read_certificates(options.lists), content, all);
    if (all && content.lists.empty())
      all = failure(Exit::failed, options.lists + " holds no revocation list");
    evidence.lists = std::move(content.lists);
  }
  if (!options.proof.empty()) take(read_proof(options), evidence.live.emplace(), all);
  if (!all) return tl::unexpected<Failure>(all.error());
  return evidence;
}

Exit status_of(identity::Step step) {
  return static_cast<Exit>(static_cast<int>(Exit::rejected) + static_cast<int>(step) - 1);
}

Exit verify(Session& session, const Options& options) {
  const auto evidence = read_evidence(options);
  if (!evidence) return session.report(evidence.error());
  const auto verified = identity::verify(*evidence);
  if (session.json()) {
    Json json{{"accepted", verified.has_value()}};
    if (verified) {
      json["device"] = verified->device.to_string();
      json["lineage"] = to_hex(verified->descent.lineage);
      json["generation"] = verified->descent.generation;
      json["events"] = verified->events;
      json["live"] = evidence->live.has_value();
    } else {
      json["step"] = std::string(identity::to_string(verified.error().step));
      json["why"] = verified.error().why;
    }
    session.print_json(json);
    return verified ? Exit::ok : status_of(verified.error().step);
  }
  if (!verified)
    return session.report(
        {status_of(verified.error().step),
         fmt::format("rejected at the step '{}': {}", identity::to_string(verified.error().step),
                     verified.error().why),
         ""});
  session.say(
      fmt::format("accepted: device {}, generation {}, {} in its log{}\n",
                  verified->device.to_string(), verified->descent.generation,
                  verified->events == 1 ? "1 event" : std::to_string(verified->events) + " events",
                  evidence->live ? ", live" : ""));
  return Exit::ok;
}

}  // namespace

Action declare_verify(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.text("FOLDER", options->folder, "what 'cert export' wrote").required();
  arguments.text("--root", options->root, "the root certificate that is trusted; PEM").required();
  arguments.text("--key", options->key, "which key of the folder, such as ek-p-256");
  arguments
      .texts("--same-family", options->kin, "a certificate of another device of the same family")
      .one_each();
  arguments.text("--crl", options->lists, "revocation lists of issuers in the chain; PEM");
  arguments.number("--min-generation", options->least_generation, "the least that will do");
  arguments.text("--nonce", options->nonce, "what a live proof answers, in hexadecimal");
  arguments.text("--proof", options->proof,
                 "folder of a live proof: lineage.attest, lineage.sig, generation.attest, "
                 "generation.sig");
  return [options](Session& session) { return verify(session, *options); };
}

}  // namespace vtpm::ctl
