// SPDX-License-Identifier: Apache-2.0
// The authority of a host below the root of a user's: what is asked for, what is taken.
#include <gtest/gtest.h>

#include "identity/authority.h"
#include "identity/chain.h"
#include "identity/test_story.h"
#include "identity/test_user_authority.h"

namespace vtpm::identity {
namespace {

using testing::must;
using testing::UserAuthority;

class AuthorityImport : public ::testing::Test {
 protected:
  // What is taken, or why not.
  std::string outcome(const std::vector<Bytes>& certificates) const {
    const auto taken = Authority::certified(key_, certificates);
    EXPECT_EQ(ERR_peek_error(), 0U);
    if (taken) return "taken";
    EXPECT_EQ(taken.error().code, ErrorCode::invalid_argument);
    return taken.error().message;
  }
  const SecretBytes key_ = must(Issuer::new_key());
  const std::string request_ =
      must(Issuer::request(key_, {.common_name = "host 7", .organization = "Example"}));
  const UserAuthority root_;
  const UserAuthority between_{root_, "between"};
};

TEST_F(AuthorityImport, AnIntermediateCertifiesFamiliesUpToTheUsersRoot) {
  const Bytes own = between_.answer(request_);
  const Authority authority =
      must(Authority::certified(key_, {root_.certificate(), own, between_.certificate()}));
  EXPECT_EQ(authority.chain(),
            (std::vector<Bytes>{own, between_.certificate(), root_.certificate()}));
  EXPECT_EQ(authority.root(), root_.certificate());
  const Family family = must(authority.found_family());
  EXPECT_TRUE(authority.issued(family.certificate()));
  const auto root = from_der<Certificate>(root_.certificate(), d2i_X509);
  const auto leaf = from_der<Certificate>(family.certificate(), d2i_X509);
  EXPECT_EQ(must(find_chain(leaf.get(), authority.chain(), root.get())).size(), 4U);
  const Authority again = must(Authority::load(authority.private_key(), authority.chain()));
  EXPECT_TRUE(again.issued(family.certificate()));
  EXPECT_TRUE(again.has_name_of(authority));
  EXPECT_FALSE(must(Authority::create()).issued(family.certificate()));
}

TEST_F(AuthorityImport, WhatVerifiersWouldNotAcceptIsRefused) {
  using Terms = UserAuthority::Terms;
  const auto with = [&](const Terms& terms) {
    return outcome({root_.answer(request_, terms), root_.certificate()});
  };
  EXPECT_EQ(with({}), "taken");
  EXPECT_EQ(with({.path_length = 1}), "taken");
  EXPECT_NE(with({.path_length = 0}), "taken") << "no family can be below it";
  EXPECT_NE(with({.authority = false}), "taken");
  EXPECT_NE(with({.begins = 60}), "taken") << "not yet valid";
  EXPECT_NE(with({.ends = -1}), "taken") << "expired";
  EXPECT_NE(with({.usage = Usage::sign}), "taken");
}

TEST_F(AuthorityImport, KeyChainAndRootMustBeThere) {
  const Bytes own = root_.answer(request_);
  const SecretBytes other_key = must(Issuer::new_key());
  const Bytes others = root_.answer(must(Issuer::request(other_key, {})));
  const UserAuthority stranger("the user's root");
  EXPECT_EQ(outcome({own, root_.certificate()}), "taken");
  EXPECT_EQ(outcome({others, root_.certificate()}),
            "none of the certificates is for the key of the request");
  EXPECT_EQ(outcome({own}), "there is no root among the certificates, which signs itself");
  EXPECT_NE(outcome({own, stranger.certificate()}), "taken") << "a root of the same name";
  EXPECT_NE(outcome({between_.answer(request_), root_.certificate()}), "taken") << "a gap";
  EXPECT_NE(outcome({own, root_.certificate(), Bytes(7)}), "taken");
  EXPECT_NE(outcome({own, own, root_.certificate()}), "taken");
  EXPECT_NE(outcome({own, root_.certificate(), stranger.certificate()}), "taken");
  EXPECT_NE(outcome({}), "taken");
  for (std::size_t i = 0; i < own.size(); i += 5) {
    Bytes changed = own;
    changed[i] ^= std::byte{1};
    EXPECT_NE(outcome({changed, root_.certificate()}), "taken") << i;
  }
}

TEST_F(AuthorityImport, AFamilyIsNotFoundedOnceACertificateHasExpired) {
  // Loading looks at no clock: vtpmd starts, and what it certified before stays what it was.
  const Bytes own = root_.answer(request_, {.begins = -60, .ends = -30});
  const Authority expired = must(Authority::load(key_, {own, root_.certificate()}));
  const auto family = expired.found_family();
  ASSERT_FALSE(family);
  EXPECT_EQ(family.error().code, ErrorCode::failed_precondition);
  EXPECT_FALSE(Authority::load(key_, {own})) << "its chain leads to no root";
}

TEST(AuthorityNames, AreAsPeopleSayAndWithinX520) {
  const Authority named =
      must(Authority::create({.common_name = "räck 7", .organization = "Example"}, 30));
  const auto root = from_der<Certificate>(named.root(), d2i_X509);
  int days = 0, seconds = 0;
  EXPECT_EQ(ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(root.get()),
                           X509_get0_notAfter(root.get())),
            1);
  EXPECT_NEAR(days + seconds / 86400.0, 30, 0.01);
  EXPECT_FALSE(Authority::create({.common_name = std::string(65, 'a')}));
  EXPECT_FALSE(Authority::create({.common_name = "a\nb"}));
  EXPECT_FALSE(Authority::create({.organization = "\xff\xfe"}));
  EXPECT_FALSE(Authority::create({}, kMostDays + 1));
  EXPECT_EQ(ERR_peek_error(), 0U);
}

}  // namespace
}  // namespace vtpm::identity
