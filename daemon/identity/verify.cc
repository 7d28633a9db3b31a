// SPDX-License-Identifier: Apache-2.0
#include "identity/verify.h"

#include <fmt/format.h>

#include <algorithm>

#include "identity/attestation_key.h"
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

struct FreeStack {
  void operator()(STACK_OF(X509) * stack) const { sk_X509_free(stack); }
};

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
  Checked revoked_by(X509_CRL* list);
  Checked log();
  Checked family();
  Checked generation();
  Checked live();
  // root -> family -> `leaf`, each of the two signed by the one before it.
  bool chained(X509* leaf) const;

  const Evidence& evidence_;
  Certificate root_, family_, leaf_;
  Verified result_;
};

bool Verifier::chained(X509* leaf) const {
  const OwnedBy<X509_STORE, X509_STORE_free> trusted(X509_STORE_new());
  const OwnedBy<X509_STORE_CTX, X509_STORE_CTX_free> context(X509_STORE_CTX_new());
  const std::unique_ptr<STACK_OF(X509), FreeStack> between(sk_X509_new_null());
  if (!trusted || !context || !between || sk_X509_push(between.get(), family_.get()) != 1 ||
      X509_STORE_add_cert(trusted.get(), root_.get()) != 1 ||
      X509_STORE_CTX_init(context.get(), trusted.get(), leaf, between.get()) != 1)
    return false;
  X509_STORE_CTX_set_flags(context.get(), X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
  if (X509_verify_cert(context.get()) != 1) return false;
  const STACK_OF(X509)* const found = X509_STORE_CTX_get0_chain(context.get());
  return sk_X509_num(found) == 3 && X509_cmp(sk_X509_value(found, 1), family_.get()) == 0;
}

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
  family_ = from_der<Certificate>(evidence_.family, d2i_X509);
  leaf_ = from_der<Certificate>(evidence_.certificate, d2i_X509);
  if (!root_ || !family_ || !leaf_) return reject(Step::chain, "one of the certificates is none");
  if (!chained(leaf_.get()))
    return reject(Step::chain,
                  "the certificate is not issued by this family, or the family not by this root");
  const auto device = device_of(leaf_.get());
  auto descent = read_descent(leaf_.get());
  if (!device) return reject(Step::chain, "the certificate does not say which device it is of");
  if (!descent) return reject(Step::chain, descent.error().message);
  result_.device = *device;
  result_.descent = *descent;
  return {};
}

Checked Verifier::revoked_by(X509_CRL* list) {
  const bool of_family =
      X509_NAME_cmp(X509_CRL_get_issuer(list), X509_get_subject_name(family_.get())) == 0;
  X509* const issuer = of_family ? family_.get() : root_.get();
  if (X509_NAME_cmp(X509_CRL_get_issuer(list), X509_get_subject_name(issuer)) != 0 ||
      X509_CRL_verify(list, X509_get0_pubkey(issuer)) != 1)
    return reject(Step::revocation, "a revocation list is neither the family's nor the root's");
  if (const ASN1_TIME* const end = X509_CRL_get0_nextUpdate(list);
      end == nullptr || X509_cmp_current_time(end) <= 0)
    return reject(Step::revocation, "a revocation list is out of date");
  X509_REVOKED* found = nullptr;
  if (X509_CRL_get0_by_cert(list, &found, of_family ? leaf_.get() : family_.get()) != 0)
    return reject(Step::revocation,
                  of_family ? "the certificate has been revoked" : "the family has been revoked");
  return {};
}

Checked Verifier::revocation() {
  for (const Bytes& der : evidence_.lists) {
    const unsigned char* at = raw(der);
    const List list(d2i_X509_CRL(nullptr, &at, static_cast<long>(der.size())));
    if (!list) return reject(Step::revocation, "a revocation list is none");
    if (auto checked = revoked_by(list.get()); !checked) return checked;
  }
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
    if (!signed_by(X509_get0_pubkey(family_.get()), EVP_sha384(), as_bytes(to_json(entry.event)),
                   entry.signature))
      return reject(Step::log, fmt::format("event {} is not signed by the family", i + 1));
  }
  result_.events = events->size();
  return {};
}

Checked Verifier::family() {
  for (const Bytes& der : evidence_.kin) {
    const auto other = from_der<Certificate>(der, d2i_X509);
    if (!other || !chained(other.get()))
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
  if ((X509_get_key_usage(leaf_.get()) & KU_DIGITAL_SIGNATURE) == 0)
    return reject(Step::live, "the certificate is not of an attestation key");
  Bytes counted;
  Writer(counted).u64(result_.descent.generation);
  const auto lineage = lineage_name();
  const auto generation = generation_name();
  if (!lineage || !generation) return reject(Step::live, "OpenSSL cannot compute a digest");
  const EVP_PKEY* const key = X509_get0_pubkey(leaf_.get());
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
