// SPDX-License-Identifier: Apache-2.0
#include "identity/endorsement_key.h"

#include <gtest/gtest.h>

#include "identity/test_keys.h"

namespace vtpm::identity {
namespace {

using testing::Form;
using testing::generate;
using testing::kForms;
using testing::tpmt_public;

constexpr Form kRsa = kForms[0];
constexpr Form kP256 = kForms[4];

// Refused, and as what it is: no error of ours.
void expect_refused(ByteView bytes, const std::string& what) {
  const auto read = read_endorsement_key(bytes);
  ASSERT_FALSE(read) << what;
  EXPECT_EQ(read.error().code, ErrorCode::invalid_argument) << what << read.error().message;
  EXPECT_EQ(ERR_peek_error(), 0U) << what;
}

TEST(EndorsementKey, OfEachTemplateIsReadAsItIs) {
  for (const Form& form : kForms) {
    const Key key = generate(form);
    const auto read = read_endorsement_key(tpmt_public(form, key));
    ASSERT_TRUE(read) << form.size << ": " << read.error().message;
    EXPECT_EQ(EVP_PKEY_eq(read->get(), key.get()), 1) << form.size;
    if (form.curve != nullptr) continue;
    EXPECT_EQ(testing::number_of(*read, OSSL_PKEY_PARAM_RSA_E, 3), from_hex("010001").value());
  }
}

TEST(EndorsementKey, CutOffOrLongerIsNone) {
  for (const Form& form : {kRsa, kP256}) {
    Bytes bytes = tpmt_public(form, generate(form));
    for (std::size_t size = 0; size < bytes.size(); size++)
      expect_refused(ByteView(bytes).first(size), std::to_string(size));
    bytes.push_back(std::byte{0});
    expect_refused(bytes, "longer");
  }
}

TEST(EndorsementKey, EveryBitBeforeThePublicPartMatters) {
  constexpr std::size_t kPolicy = 10;  // type, digest, attributes, size of the policy
  for (const Form& form : kForms) {
    if (form.curve == nullptr && form.size != 2048) continue;  // slow to make, and alike
    const Bytes good = tpmt_public(form, generate(form));
    const std::size_t head = testing::head_of(form).size() + 2;  // with the next size
    for (std::size_t bit = 0; bit < head * 8; bit++) {
      Bytes bad = good;
      bad[bit / 8] ^= std::byte{0x80} >> (bit % 8);
      const bool in_policy = bit / 8 >= kPolicy && bit / 8 < kPolicy + form.digest;
      // userWithAuth is what tells the ranges apart.
      const bool other_range = bit == 8 * 7 + 1 && form.digest == 32;
      if (!in_policy && !other_range) {
        expect_refused(bad, "bit " + std::to_string(bit));
        continue;
      }
      if (bit % 64 != 0 && in_policy) continue;  // alike, and slow to check
      EXPECT_TRUE(read_endorsement_key(bad)) << form.size << " bit " << bit;
    }
  }
}

TEST(EndorsementKey, APointThatIsNotOnItsCurveIsRefused) {
  for (const Form& form : kForms) {
    if (form.curve == nullptr) continue;
    const Bytes good = tpmt_public(form, generate(form));
    const std::size_t head = testing::head_of(form).size() + 2;
    for (std::size_t at = head; at < good.size(); at++) {
      if (at - head == form.field || at - head == form.field + 1) continue;  // size of y
      for (const auto bit : {std::byte{1}, std::byte{0x80}}) {
        Bytes bad = good;
        bad[at] ^= bit;
        expect_refused(bad, form.curve + std::to_string(at));
      }
    }
    const Bytes zero(form.field), ones(form.field, std::byte{0xff});
    expect_refused(tpmt_public(form, zero, zero), "the origin");
    expect_refused(tpmt_public(form, ones, ones), "no field element");
    expect_refused(tpmt_public(form, {}, {}), "infinity");
    // A point, but of another curve; and one with its coordinates shortened.
    const Form& other = form.size == 3 ? kForms[6] : kForms[4];
    const Key stranger = generate(other);
    Form mixed = form;
    mixed.field = other.field;
    expect_refused(tpmt_public(mixed, stranger), "another curve");
  }
}

TEST(EndorsementKey, AModulusOfAnotherSizeOrKindIsRefused) {
  for (const int bits : {512, 1024, 2040, 2056, 3072}) {
    const Key key = testing::make_rsa(bits);
    Form said = kRsa;  // says 2048
    said.field = static_cast<std::size_t>(bits) / 8;
    expect_refused(tpmt_public(said, key), std::to_string(bits));
    said.size = static_cast<std::uint16_t>(bits);  // says so
    expect_refused(tpmt_public(said, key), std::to_string(bits));
  }
  const Bytes modulus = testing::padded(testing::make_modulus(2048), kRsa.field);
  EXPECT_TRUE(read_endorsement_key(tpmt_public(kRsa, modulus, {})));
  Bytes bad = modulus;
  bad.back() ^= std::byte{1};
  expect_refused(tpmt_public(kRsa, bad, {}), "even");
  bad = modulus;
  bad.front() &= std::byte{0x7f};
  expect_refused(tpmt_public(kRsa, bad, {}), "short");
  expect_refused(tpmt_public(kRsa, Bytes(kRsa.field), {}), "zero");

  const Number prime(BN_get_rfc3526_prime_2048(nullptr));
  expect_refused(tpmt_public(kRsa, testing::padded(prime, kRsa.field), {}), "a prime");
  const Number smooth = testing::make_modulus(2040);
  ASSERT_EQ(BN_mul_word(smooth.get(), 251), 1);
  expect_refused(tpmt_public(kRsa, testing::padded(smooth, kRsa.field), {}), "a small factor");
}

}  // namespace
}  // namespace vtpm::identity
