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
  VTPM_TRY(const auto found, chain_of_key(key.get(), certificates));
  X509* const own = found.front().get();
  if (X509_check_ca(own) != 1)
    return refuse("the certificate is not of an authority (basicConstraints CA:TRUE)");
  constexpr std::uint32_t kUsage = KU_KEY_CERT_SIGN | KU_CRL_SIGN;
  if ((X509_get_key_usage(own) & kUsage) != kUsage)
    return refuse("the certificate's keyUsage lacks keyCertSign or cRLSign");
  if (X509_get0_subject_key_id(own) == nullptr)
    return refuse("the certificate has no subjectKeyIdentifier");
  std::vector<Bytes> chain;
  chain.reserve(found.size() + 1);
  for (const Certificate& one : found) chain.push_back(to_der<Bytes>(one.get(), i2d_X509));
  VTPM_TRY(Authority authority, load(private_key, chain));
  // A family and one below it are tried, so that a path that is too short shows now.
  VTPM_TRY(const Issuer family, Issuer::create("vTPM family", authority.issuer_));
  VTPM_TRY(const Issuer below, Issuer::create("vTPM device", family));
  chain.push_back(family.certificate());
  const auto leaf = from_der<Certificate>(below.certificate(), d2i_X509);
  if (const auto good = find_chain(leaf.get(), chain, found.back().get()); !good)
    return refuse("no family can be below the certificate: " + good.error().message);
  return authority;
}

bool Authority::has_name_of(const Authority& other) const {
  const auto own = from_der<Certificate>(chain_.front(), d2i_X509);
  const auto others = from_der<Certificate>(other.chain_.front(), d2i_X509);
  return own && others &&
         X509_NAME_cmp(X509_get_subject_name(own.get()), X509_get_subject_name(others.get())) == 0;
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
  families_++;
  return Family(std::move(issuer));
}

}  // namespace vtpm::identity
