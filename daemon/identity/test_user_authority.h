// SPDX-License-Identifier: Apache-2.0
// For tests: the certificate authority of a user, which answers the requests of hosts.
#pragma once

#include <openssl/ec.h>
#include <openssl/pem.h>

#include <cstdlib>
#include <string>

#include "identity/certificate.h"
#include "identity/openssl.h"

namespace vtpm::identity::testing {

class UserAuthority {
 public:
  struct Terms {
    bool authority = true;
    long path_length = -1;  // none
    long begins = -60, ends = 3600;
    Usage usage = Usage::sign_certificates_and_lists;
  };
  explicit UserAuthority(const std::string& name = "the user's root")
      : name_(name), key_(EVP_EC_gen("P-256")), root_(X509_new()) {
    fill(root_.get(), key_.get(), {});
    add_attributes(X509_get_subject_name(root_.get()), {{"2.5.4.3", name_}});
    sign(root_.get(), root_.get());
  }
  // One below it, which answers requests in its place.
  UserAuthority(const UserAuthority& above, const std::string& name)
      : name_(name), key_(EVP_EC_gen("P-256")), root_(X509_new()) {
    fill(root_.get(), key_.get(), {});
    add_attributes(X509_get_subject_name(root_.get()), {{"2.5.4.3", name_}});
    above.sign(root_.get(), above.root_.get());
  }
  [[nodiscard]] Bytes certificate() const { return to_der<Bytes>(root_.get(), i2d_X509); }

  [[nodiscard]] Bytes answer(const std::string& request, const Terms& terms) const {
    const OwnedBy<BIO, BIO_free_all> in(
        BIO_new_mem_buf(request.data(), static_cast<int>(request.size())));
    const OwnedBy<X509_REQ, X509_REQ_free> asked(
        PEM_read_bio_X509_REQ(in.get(), nullptr, nullptr, nullptr));
    EVP_PKEY* const key = asked ? X509_REQ_get0_pubkey(asked.get()) : nullptr;
    if (key == nullptr || X509_REQ_verify(asked.get(), key) != 1) std::abort();
    const Certificate made(X509_new());
    fill(made.get(), key, terms);
    X509_set_subject_name(made.get(), X509_REQ_get_subject_name(asked.get()));
    sign(made.get(), root_.get());
    return to_der<Bytes>(made.get(), i2d_X509);
  }
  [[nodiscard]] Bytes answer(const std::string& request) const { return answer(request, {}); }

 private:
  static void fill(X509* certificate, EVP_PKEY* key, const Terms& terms) {
    const OwnedBy<BASIC_CONSTRAINTS, BASIC_CONSTRAINTS_free> constraints(BASIC_CONSTRAINTS_new());
    constraints->ca = terms.authority ? 0xff : 0;
    if (terms.path_length >= 0) {
      constraints->pathlen = ASN1_INTEGER_new();
      ASN1_INTEGER_set(constraints->pathlen, terms.path_length);
    }
    if (!begin_certificate(certificate) || X509_set_pubkey(certificate, key) != 1 ||
        X509_gmtime_adj(X509_getm_notBefore(certificate), terms.begins) == nullptr ||
        X509_gmtime_adj(X509_getm_notAfter(certificate), terms.ends) == nullptr ||
        X509_add1_ext_i2d(certificate, NID_basic_constraints, constraints.get(), 1,
                          X509V3_ADD_APPEND) != 1 ||
        !add_key_usage(certificate, terms.usage) || !add_subject_key_id(certificate))
      std::abort();
  }
  void sign(X509* certificate, X509* issuer) const {
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
    if (certificate != issuer) add_authority_key_id(certificate, issuer);
    if (X509_sign(certificate, key_.get(), EVP_sha256()) <= 0) std::abort();
  }

  std::string name_;
  Key key_;
  Certificate root_;
};

}  // namespace vtpm::identity::testing
