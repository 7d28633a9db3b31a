// SPDX-License-Identifier: Apache-2.0
#include "identity/authority.h"

#include <utility>

#include "identity/chain.h"

namespace vtpm::identity {
namespace {

bool issued_by(X509* certificate, X509* issuer) {
  return certificate != nullptr && issuer != nullptr &&
         X509_check_issued(issuer, certificate) == X509_V_OK &&
         X509_verify(certificate, X509_get0_pubkey(issuer)) == 1;
}

tl::unexpected<Error> refuse(const std::string& why) {
  ERR_clear_error();
  return fail(ErrorCode::invalid_argument, why);
}

}  // namespace

Result<Authority> Authority::create(const IssuerSubject& subject, std::uint32_t days) {
  VTPM_TRY(Issuer root, Issuer::create_root(subject, days));
  std::vector<Bytes> chain{root.certificate()};
  return Authority(std::move(root), std::move(chain));
}

Result<Authority> Authority::load(ByteView private_key, const std::vector<Bytes>& chain) {
  if (chain.empty()) return fail(ErrorCode::corrupt, "the certificate authority has no chain");
  VTPM_TRY(Issuer issuer, Issuer::load(private_key, chain.front()));
  return with_chain(std::move(issuer), chain);
}

Result<Authority> Authority::load_outside(const std::vector<Bytes>& chain,
                                          const SignOutside& sign) {
  if (chain.empty()) return fail(ErrorCode::corrupt, "the certificate authority has no chain");
  VTPM_TRY(Issuer issuer, Issuer::outside(chain.front(), sign));
  return with_chain(std::move(issuer), chain);
}

Result<Authority> Authority::with_chain(Issuer issuer, const std::vector<Bytes>& chain) {
  for (std::size_t i = 0; i < chain.size(); i++) {
    const auto one = from_der<Certificate>(chain[i], d2i_X509);
    const auto above = from_der<Certificate>(chain[std::min(i + 1, chain.size() - 1)], d2i_X509);
    const bool good = issued_by(one.get(), above.get());
    ERR_clear_error();
    if (!good)
      return fail(ErrorCode::corrupt,
                  "the certificate authority is damaged: its chain leads to no root");
  }
  return Authority(std::move(issuer), chain);
}

Result<Authority> Authority::certified(ByteView private_key,
                                       const std::vector<Bytes>& certificates) {
  const Key key = read_private_key(private_key);
  if (!key) return fail_openssl("read the key of the certificate authority");
  VTPM_TRY(const std::vector<Bytes> chain, acceptable(key.get(), certificates));
  VTPM_TRY(Authority authority, load(private_key, chain));
  VTPM_CHECK(authority.try_family());
  return authority;
}

Result<Authority> Authority::outside(const std::vector<Bytes>& certificates,
                                     const SignOutside& sign) {
  const auto own =
      certificates.empty() ? Certificate() : from_der<Certificate>(certificates.front(), d2i_X509);
  EVP_PKEY* const key = own ? X509_get0_pubkey(own.get()) : nullptr;
  if (key == nullptr) return refuse("the first of the certificates cannot be read");
  VTPM_TRY(const std::vector<Bytes> chain, acceptable(key, certificates));
  VTPM_TRY(Authority authority, load_outside(chain, sign));
  VTPM_CHECK(authority.try_family());
  return authority;
}

// Of all that are given those from the key's own one up to the root, if an authority's is at the
// beginning.
Result<std::vector<Bytes>> Authority::acceptable(EVP_PKEY* key,
                                                 const std::vector<Bytes>& certificates) {
  VTPM_TRY(const auto found, chain_of_key(key, certificates));
  X509* const own = found.front().get();
  if (X509_check_ca(own) != 1)
    return refuse("the certificate is not of an authority (basicConstraints CA:TRUE)");
  constexpr std::uint32_t kUsage = KU_KEY_CERT_SIGN | KU_CRL_SIGN;
  if ((X509_get_key_usage(own) & kUsage) != kUsage)
    return refuse("the certificate's keyUsage lacks keyCertSign or cRLSign");
  if (X509_get0_subject_key_id(own) == nullptr)
    return refuse("the certificate has no subjectKeyIdentifier");
  std::vector<Bytes> chain;
  chain.reserve(found.size());
  for (const Certificate& one : found) chain.push_back(to_der<Bytes>(one.get(), i2d_X509));
  return chain;
}

// A family and one below it, so that a path that is too short shows now.
Result<void> Authority::try_family() const {
  VTPM_TRY(const Issuer family, Issuer::create("vTPM family", issuer_));
  VTPM_TRY(const Issuer below, Issuer::create("vTPM device", family));
  std::vector<Bytes> between = chain_;
  between.push_back(family.certificate());
  const auto leaf = from_der<Certificate>(below.certificate(), d2i_X509);
  const auto top = from_der<Certificate>(root(), d2i_X509);
  if (const auto good = find_chain(leaf.get(), between, top.get()); !good)
    return refuse("no family can be below the certificate: " + good.error().message);
  return {};
}

bool Authority::has_name_of(const Authority& other) const {
  const auto own = from_der<Certificate>(chain_.front(), d2i_X509);
  const auto others = from_der<Certificate>(other.chain_.front(), d2i_X509);
  return own && others &&
         X509_NAME_cmp(X509_get_subject_name(own.get()), X509_get_subject_name(others.get())) == 0;
}

bool Authority::has_key_of(const Authority& other) const {
  const auto own = from_der<Certificate>(chain_.front(), d2i_X509);
  const auto others = from_der<Certificate>(other.chain_.front(), d2i_X509);
  return own && others &&
         EVP_PKEY_eq(X509_get0_pubkey(own.get()), X509_get0_pubkey(others.get())) == 1;
}

Result<Family> Authority::found_family() const {
  for (const Bytes& der : chain_) {
    const auto one = from_der<Certificate>(der, d2i_X509);
    if (one && X509_cmp_current_time(X509_get0_notAfter(one.get())) > 0) continue;
    ERR_clear_error();
    return fail(ErrorCode::failed_precondition,
                "a certificate of this host's authority has expired, so nobody would accept what "
                "it certifies",
                "have it renewed; 'vtpmctl ca import' takes the new one");
  }
  VTPM_TRY(Issuer issuer, Issuer::create("vTPM family", issuer_));
  return Family(std::move(issuer));
}

}  // namespace vtpm::identity
