// SPDX-License-Identifier: Apache-2.0
#include "identity/revocation_list.h"

#include <gtest/gtest.h>

#include "identity/test_story.h"
#include "identity/withdrawal.h"

namespace vtpm::identity {
namespace {

using testing::must;
using testing::uuid;

class RevocationListTest : public ::testing::Test, protected testing::Story {
 protected:
  [[nodiscard]] Issuer family() const {
    return must(Issuer::load(family_.private_key(), family_.certificate()));
  }
  static Revoked revoked(ByteView certificate) {
    return {.serial = must(id_of(certificate)).serial, .since = 1'763'805'600};
  }
  // Empty: accepted.
  [[nodiscard]] std::string verdict(const Bytes& list) const {
    Evidence evidence = evidence_;
    evidence.lists = {list};
    const auto verified = verify(evidence);
    EXPECT_EQ(ERR_peek_error(), 0U);
    return verified ? "" : std::string(to_string(verified.error().step));
  }
};

TEST_F(RevocationListTest, NamesWhatIsRevokedAndNothingElse) {
  EXPECT_EQ(verdict(must(issue(family(), {}))), "");
  EXPECT_EQ(verdict(must(issue(family(), {.revoked = {revoked(certificates_[0])}}))), "");
  EXPECT_EQ(verdict(must(issue(
                family(), {.revoked = {revoked(certificates_[0]), revoked(certificates_[2])}}))),
            "revocation");
  const Issuer root = must(Issuer::load(authority_.private_key(), authority_.root()));
  EXPECT_EQ(verdict(must(issue(root, {.revoked = {revoked(stranger_.certificate())}}))), "");
  EXPECT_EQ(verdict(must(issue(root, {.revoked = {revoked(family_.certificate())}}))),
            "revocation");
  EXPECT_EQ(verdict(must(issue(family(), {.days = 0, .revoked = {}}))), "revocation")
      << "out of date";
}

TEST_F(RevocationListTest, SaysItsNumberAndWhy) {
  const Bytes der =
      must(issue(family(), {.number = 300,
                            .days = 3,
                            .revoked = {{.serial = must(id_of(certificates_[1])).serial,
                                         .since = 1'763'805'600,
                                         .reason = Revoked::Reason::superseded}}}));
  const unsigned char* at = raw(der);
  const OwnedBy<X509_CRL, X509_CRL_free> list(
      d2i_X509_CRL(nullptr, &at, static_cast<long>(der.size())));
  ASSERT_TRUE(list);
  EXPECT_EQ(X509_CRL_get_version(list.get()), 1);
  const OwnedBy<ASN1_INTEGER, ASN1_INTEGER_free> number(static_cast<ASN1_INTEGER*>(
      X509_CRL_get_ext_d2i(list.get(), NID_crl_number, nullptr, nullptr)));
  ASSERT_TRUE(number);
  EXPECT_EQ(ASN1_INTEGER_get(number.get()), 300);
  int days = 0, seconds = 0;
  EXPECT_EQ(ASN1_TIME_diff(&days, &seconds, X509_CRL_get0_lastUpdate(list.get()),
                           X509_CRL_get0_nextUpdate(list.get())),
            1);
  EXPECT_NEAR(days + seconds / 86400.0, 3, 0.01);
  const auto* const entries = X509_CRL_get_REVOKED(list.get());
  ASSERT_EQ(sk_X509_REVOKED_num(entries), 1);
  const OwnedBy<ASN1_ENUMERATED, ASN1_ENUMERATED_free> reason(
      static_cast<ASN1_ENUMERATED*>(X509_REVOKED_get_ext_d2i(sk_X509_REVOKED_value(entries, 0),
                                                             NID_crl_reason, nullptr, nullptr)));
  ASSERT_TRUE(reason);
  EXPECT_EQ(ASN1_ENUMERATED_get(reason.get()), 4);
  EXPECT_NE(must(list_to_pem(der)).find("BEGIN X509 CRL"), std::string::npos);
  EXPECT_FALSE(list_to_pem(Bytes(5)));
}

TEST_F(RevocationListTest, WhatIsKeptOfADeviceComesBackAsItWas) {
  Lineage lineage;
  lineage.family_certificate = family_.certificate();
  lineage.certificates = {certificates_[0], certificates_[1]};
  const Withdrawal gone = must(withdraw(lineage, Revoked::Reason::superseded, 1'763'805'600));
  EXPECT_EQ(gone.family_key, must(key_id_of(family_.certificate())));
  EXPECT_EQ(gone.family.issuer_key, must(key_id_of(authority_.root())));
  ASSERT_EQ(gone.certificates.size(), 2U);
  EXPECT_EQ(gone.certificates[0].issuer_key, gone.family_key);
  const Bytes encoded = encode(gone);
  EXPECT_EQ(must(decode_withdrawal(encoded)), gone);
  for (std::size_t size = 0; size < encoded.size(); size++)
    EXPECT_FALSE(decode_withdrawal(ByteView(encoded).first(size))) << size;
  Bytes other_reason = encoded;
  other_reason[9] = std::byte{1};
  EXPECT_FALSE(decode_withdrawal(other_reason));
  lineage.certificates = {Bytes(3)};
  EXPECT_FALSE(withdraw(lineage, Revoked::Reason::superseded, 0));
  EXPECT_EQ(ERR_peek_error(), 0U);
}

TEST_F(RevocationListTest, CertificatesTellWhereTheListIs) {
  Issuer issuer = family();
  issuer.publish_lists_at("http://crl.example/vtpm");
  const Issuer below = must(Issuer::create("below", issuer));
  const auto certificate = from_der<Certificate>(below.certificate(), d2i_X509);
  const OwnedBy<CRL_DIST_POINTS, CRL_DIST_POINTS_free> points(static_cast<CRL_DIST_POINTS*>(
      X509_get_ext_d2i(certificate.get(), NID_crl_distribution_points, nullptr, nullptr)));
  ASSERT_TRUE(points && sk_DIST_POINT_num(points.get()) == 1);
  const auto* const names = sk_DIST_POINT_value(points.get(), 0)->distpoint->name.fullname;
  ASSERT_EQ(sk_GENERAL_NAME_num(names), 1);
  const ASN1_STRING* const url = sk_GENERAL_NAME_value(names, 0)->d.uniformResourceIdentifier;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(ASN1_STRING_get0_data(url))),
            "http://crl.example/vtpm/" + to_hex(must(key_id_of(family_.certificate()))) + ".crl");
  EXPECT_EQ(X509_get_ext_by_NID(from_der<Certificate>(family_.certificate(), d2i_X509).get(),
                                NID_crl_distribution_points, -1),
            -1);
}

}  // namespace
}  // namespace vtpm::identity
