// SPDX-License-Identifier: Apache-2.0
#include "identity/revocation_list.h"

#include <openssl/pem.h>

#include "identity/issuer.h"
#include "identity/openssl.h"

namespace vtpm::identity {
namespace {

using Integer = OwnedBy<ASN1_INTEGER, ASN1_INTEGER_free>;
using Enumerated = OwnedBy<ASN1_ENUMERATED, ASN1_ENUMERATED_free>;
using Time = OwnedBy<ASN1_TIME, ASN1_TIME_free>;

Bytes content(const ASN1_OCTET_STRING* string) {
  if (string == nullptr) return {};
  return to_bytes({reinterpret_cast<const std::byte*>(ASN1_STRING_get0_data(string)),
                   static_cast<std::size_t>(ASN1_STRING_length(string))});
}

bool add(X509_CRL* list, const Revoked& one) {
  const Number number(BN_bin2bn(raw(one.serial), static_cast<int>(one.serial.size()), nullptr));
  const Integer serial(number ? BN_to_ASN1_INTEGER(number.get(), nullptr) : nullptr);
  const Time since(ASN1_TIME_set(nullptr, one.since));
  const Enumerated reason(ASN1_ENUMERATED_new());
  OwnedBy<X509_REVOKED, X509_REVOKED_free> entry(X509_REVOKED_new());
  if (!serial || !since || !reason || !entry ||
      ASN1_ENUMERATED_set(reason.get(), static_cast<long>(one.reason)) != 1 ||
      X509_REVOKED_set_serialNumber(entry.get(), serial.get()) != 1 ||
      X509_REVOKED_set_revocationDate(entry.get(), since.get()) != 1 ||
      X509_REVOKED_add1_ext_i2d(entry.get(), NID_crl_reason, reason.get(), 0, X509V3_ADD_APPEND) !=
          1 ||
      X509_CRL_add0_revoked(list, entry.get()) != 1)
    return false;
  return entry.release() != nullptr;  // the list has it
}

}  // namespace

Result<CertificateId> id_of(ByteView certificate) {
  const auto parsed = from_der<Certificate>(certificate, d2i_X509);
  const Number number(parsed ? ASN1_INTEGER_to_BN(X509_get0_serialNumber(parsed.get()), nullptr)
                             : nullptr);
  CertificateId id;
  if (parsed) id.issuer_key = content(X509_get0_authority_key_id(parsed.get()));
  if (!number || BN_is_negative(number.get()) == 1 || id.issuer_key.empty()) {
    ERR_clear_error();
    return fail(ErrorCode::invalid_argument, "a certificate does not say who issued it");
  }
  id.serial.resize(static_cast<std::size_t>(BN_num_bytes(number.get())));
  BN_bn2bin(number.get(), reinterpret_cast<unsigned char*>(id.serial.data()));
  return id;
}

Result<Bytes> key_id_of(ByteView certificate) {
  const auto parsed = from_der<Certificate>(certificate, d2i_X509);
  Bytes id;
  if (parsed) id = content(X509_get0_subject_key_id(parsed.get()));
  ERR_clear_error();
  if (id.empty())
    return fail(ErrorCode::invalid_argument, "a certificate has no identifier of its key");
  return id;
}

Result<Bytes> issue(const Issuer& issuer, const RevocationList& list) {
  const OwnedBy<X509_CRL, X509_CRL_free> made(X509_CRL_new());
  const Time now(X509_gmtime_adj(nullptr, 0));
  const Time next(X509_time_adj_ex(nullptr, static_cast<int>(list.days), 0, nullptr));
  const Integer number(ASN1_INTEGER_new());
  bool complete =
      made && now && next && number && X509_CRL_set_version(made.get(), X509_CRL_VERSION_2) == 1 &&
      X509_CRL_set1_lastUpdate(made.get(), now.get()) == 1 &&
      X509_CRL_set1_nextUpdate(made.get(), next.get()) == 1 &&
      ASN1_INTEGER_set_uint64(number.get(), list.number) == 1 &&
      X509_CRL_add1_ext_i2d(made.get(), NID_crl_number, number.get(), 0, X509V3_ADD_APPEND) == 1;
  for (const Revoked& one : list.revoked) complete = complete && add(made.get(), one);
  if (!complete || X509_CRL_sort(made.get()) != 1) return fail_openssl("make a revocation list");
  return issuer.issue(made.get());
}

Result<std::string> list_to_pem(ByteView list) {
  const unsigned char* at = raw(list);
  const OwnedBy<X509_CRL, X509_CRL_free> parsed(
      d2i_X509_CRL(nullptr, &at, static_cast<long>(list.size())));
  const Bio out(BIO_new(BIO_s_mem()));
  if (!parsed || !out || PEM_write_bio_X509_CRL(out.get(), parsed.get()) != 1)
    return fail_openssl("write a revocation list as PEM");
  return text_in(out.get());
}

}  // namespace vtpm::identity
