// SPDX-License-Identifier: Apache-2.0
#include "identity/verify.h"

#include <fmt/format.h>

#include <algorithm>

#include "identity/attestation_key.h"
#include "identity/chain.h"
#include "identity/family.h"
#include "identity/live_proof.h"
#include "identity/openssl.h"

namespace vtpm::identity {
namespace {

using List = OwnedBy<X509_CRL, X509_CRL_free>;
using Checked = tl::expected<void, Rejected>;

tl::unexpected<Rejected> reject(Step step, std::string why) {
  ERR_clear_error();
  return tl::unexpected<Rejected>(Rejected{step, std::move(why)});
}

// Branches, which other hosts have, are below it.
std::size_t place_of_family(const std::vector<Certificate>& chain) {
  std::size_t place = 1;
  while (place < chain.size() && is_branch(chain[place].get())) place++;
  return place;
}

// The parts, taken apart once; step after step looks at them.
class Verifier {
 public:
  explicit Verifier(const Evidence& evidence) : evidence_(evidence) {}
  tl::expected<Verified, Rejected> run() {
    using Check = Checked (Verifier::*)();
    for (const Check check : {&Verifier::chain, &Verifier::revocation, &Verifier::log,
                              &Verifier::family, &Verifier::generation, &Verifier::live})
      if (auto checked = (this->*check)(); !checked)
        return tl::unexpected<Rejected>(std::move(checked).error());
    ERR_clear_error();
    return result_;
  }

 private:
  Checked chain();
  Checked revocation();
  // Whether it is of the chain; rejected if it is, and is no good or revokes a part of it.
  tl::expected<bool, Rejected> clears(X509_CRL* list) const;
  Checked log();
  Checked family();
  Checked generation();
  Checked live();
  [[nodiscard]] X509* leaf() const { return chain_.front().get(); }
  [[nodiscard]] X509* family_certificate() const { return chain_[family_].get(); }

  const Evidence& evidence_;
  Certificate root_;
  std::vector<Certificate> chain_;  // certificate, branches, family, what certified it, root
  std::size_t family_ = 1;          // its place in it
  Verified result_;
};

// The device that a certificate is of: a serial number in its alternative name.
std::optional<Uuid> device_of(const X509* certificate) {
  const OwnedBy<GENERAL_NAMES, GENERAL_NAMES_free> names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  if (!names || sk_GENERAL_NAME_num(names.get()) != 1) return std::nullopt;
  const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names.get(), 0);
  if (name->type != GEN_DIRNAME) return std::nullopt;
  const int at = X509_NAME_get_index_by_NID(name->d.directoryName, NID_serialNumber, -1);
  if (at < 0) return std::nullopt;
  const ASN1_STRING* const text =
      X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name->d.directoryName, at));
  return Uuid::parse({reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                      static_cast<std::size_t>(ASN1_STRING_length(text))});
}

Checked Verifier::chain() {
  root_ = from_der<Certificate>(evidence_.root, d2i_X509);
  const auto certificate = from_der<Certificate>(evidence_.certificate, d2i_X509);
  if (!root_ || !certificate) return reject(Step::chain, "one of the certificates is none");
  auto found = find_chain(certificate.get(), evidence_.issuers, root_.get());
  if (!found)
    return reject(Step::chain,
                  "no chain leads from the root to the certificate: " + found.error().message);
  family_ = place_of_family(*found);
  if (family_ + 1 >= found->size())
    return reject(Step::chain, "there is no family between the root and the certificate");
  chain_ = *std::move(found);
  const auto device = device_of(leaf());
  auto descent = read_descent(leaf());
  if (!device) return reject(Step::chain, "the certificate does not say which device it is of");
  if (!descent) return reject(Step::chain, descent.error().message);
  result_.device = *device;
  result_.descent = *descent;
  return {};
}

// Each list of an issuer in the chain; a file may hold those of others, too.
tl::expected<bool, Rejected> Verifier::clears(X509_CRL* list) const {
  std::size_t issuer = 1;
  while (issuer < chain_.size() &&
         X509_NAME_cmp(X509_CRL_get_issuer(list), X509_get_subject_name(chain_[issuer].get())) != 0)
    issuer++;
  if (issuer == chain_.size()) return false;
  if (X509_CRL_verify(list, X509_get0_pubkey(chain_[issuer].get())) != 1)
    return reject(Step::revocation, "a revocation list is not signed by who it says");
  if (const ASN1_TIME* const end = X509_CRL_get0_nextUpdate(list);
      end == nullptr || X509_cmp_current_time(end) <= 0)
    return reject(Step::revocation, "a revocation list is out of date");
  X509_REVOKED* found = nullptr;
  if (X509_CRL_get0_by_cert(list, &found, chain_[issuer - 1].get()) != 0)
    return reject(Step::revocation, issuer == 1             ? "the certificate has been revoked"
                                    : issuer <= family_ + 1 ? "the family has been revoked"
                                                            : "an authority has been revoked");
  return true;
}

Checked Verifier::revocation() {
  bool any = evidence_.lists.empty();
  for (const Bytes& der : evidence_.lists) {
    const unsigned char* at = raw(der);
    const List list(d2i_X509_CRL(nullptr, &at, static_cast<long>(der.size())));
    if (!list) return reject(Step::revocation, "a revocation list is none");
    const auto clear = clears(list.get());
    if (!clear) return tl::unexpected<Rejected>(clear.error());
    any = any || *clear;
  }
  if (!any) return reject(Step::revocation, "no revocation list is of an issuer in the chain");
  return {};
}

Checked Verifier::log() {
  const auto events = parse_log(evidence_.log);
  if (!events) return reject(Step::log, events.error().message);
  const auto standing = replay(*events);
  if (!standing) return reject(Step::log, standing.error().message);
  if (standing->lineage != result_.descent.lineage ||
      standing->generation != result_.descent.generation)
    return reject(Step::log, "the log does not lead to the lineage in the certificate");
  if (events->back().event.device != result_.device)
    return reject(Step::log, "the log is of another device than the certificate");
  for (std::size_t i = 0; i < events->size(); i++) {
    const SignedEvent& entry = (*events)[i];
    const bool of_family =
        std::any_of(chain_.begin() + 1, chain_.begin() + static_cast<std::ptrdiff_t>(family_) + 1,
                    [&entry](const Certificate& signer) {
                      return signed_by(X509_get0_pubkey(signer.get()), EVP_sha384(),
                                       as_bytes(to_json(entry.event)), entry.signature);
                    });
    if (!of_family)
      return reject(Step::log, fmt::format("event {} is not signed by the family", i + 1));
  }
  result_.events = events->size();
  return {};
}

Checked Verifier::family() {
  for (const Bytes& der : evidence_.kin) {
    const auto other = from_der<Certificate>(der, d2i_X509);
    const auto chain = other ? find_chain(other.get(), evidence_.issuers, root_.get())
                             : Result<std::vector<Certificate>>();
    const std::size_t place = chain ? place_of_family(*chain) : 0;
    if (!chain || place + 1 >= chain->size() ||
        X509_cmp((*chain)[place].get(), family_certificate()) != 0)
      return reject(Step::family, "the other certificate is not of the same family");
  }
  return {};
}

Checked Verifier::generation() {
  if (result_.descent.generation >= evidence_.least_generation) return {};
  return reject(Step::generation,
                fmt::format("the generation is {}, and was to be at least {}",
                            result_.descent.generation, evidence_.least_generation));
}

Checked Verifier::live() {
  if (!evidence_.live) return {};
  const LiveProof& proof = *evidence_.live;
  if ((X509_get_key_usage(leaf()) & KU_DIGITAL_SIGNATURE) == 0)
    return reject(Step::live, "the certificate is not of an attestation key");
  Bytes counted;
  Writer(counted).u64(result_.descent.generation);
  const auto lineage = lineage_name();
  const auto generation = generation_name();
  if (!lineage || !generation) return reject(Step::live, "OpenSSL cannot compute a digest");
  const EVP_PKEY* const key = X509_get0_pubkey(leaf());
  for (const auto& [what, certified, name, value] :
       {std::tuple{"LINEAGE", &proof.lineage, ByteView(*lineage),
                   ByteView(result_.descent.lineage)},
        std::tuple{"GENERATION", &proof.generation, ByteView(*generation), ByteView(counted)}})
    if (const auto shown = check_certified(*certified, key, proof.nonce, name, value); !shown)
      return reject(Step::live, fmt::format("{}: {}", what, shown.error().message));
  return {};
}

}  // namespace

std::string_view to_string(Step step) {
  switch (step) {
    case Step::chain: return "chain";
    case Step::revocation: return "revocation";
    case Step::log: return "log";
    case Step::family: return "family";
    case Step::generation: return "generation";
    case Step::live: return "live";
  }
  return "unknown";
}

tl::expected<Verified, Rejected> verify(const Evidence& evidence) {
  return Verifier(evidence).run();
}

}  // namespace vtpm::identity
