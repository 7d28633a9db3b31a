// SPDX-License-Identifier: Apache-2.0
// What a worker says is the public part of an endorsement key: the whole input is a TPMT_PUBLIC.
#include "identity/endorsement_key.h"

#include <cstring>

#include "check.h"
#include "identity/authority.h"
#include "identity/test_keys.h"

namespace vtpm::fuzz {
namespace {

using namespace identity;  // NOLINT(google-build-using-namespace)

constexpr std::size_t kPolicy = 10;  // after type, digest, attributes and its own size

// A second reading: the template that it is of, by its size alone, and the key in it, written down.
Bytes written_down(ByteView input, const Key& key) {
  for (testing::Form form : testing::kForms) {
    Bytes again = testing::head_of(form);
    const std::size_t coordinates = form.curve == nullptr ? 1 : 2;
    if (again.size() + coordinates * (2 + form.field) != input.size()) continue;
    if (!std::ranges::equal(ByteView(again).first(8), input.first(8))) continue;
    again = testing::tpmt_public(form, key);
    std::memcpy(again.data() + kPolicy, input.data() + kPolicy, form.digest);
    return again;
  }
  return {};
}

void check(ByteView input) {
  static const Result<Authority> authority = Authority::create();
  FUZZ_CHECK(authority);
  static const Result<Family> family = authority->found_family();
  FUZZ_CHECK(family);
  const auto key = read_endorsement_key(input);
  KeySubject subject;
  subject.model = "model";
  const auto certificate = family->certify_endorsement_key(input, subject);
  // Of a modulus that no TPM makes, OpenSSL's check may think differently each time.
  const bool rsa = input.size() > 1 && input[1] == std::byte{1};
  FUZZ_CHECK(rsa || key.has_value() == certificate.has_value());
  FUZZ_CHECK(ERR_peek_error() == 0);
  FUZZ_CHECK(key || key.error().code == ErrorCode::invalid_argument);
  FUZZ_CHECK(certificate || certificate.error().code == ErrorCode::invalid_argument);
  if (!key || !certificate) return;
  FUZZ_CHECK(std::ranges::equal(written_down(input, *key), input));
  Bytes other = to_bytes(input);
  other.push_back(std::byte{0});
  FUZZ_CHECK(!read_endorsement_key(other));
  FUZZ_CHECK(!read_endorsement_key(input.first(input.size() - 1)));

  const auto parsed = [](const Bytes& der) {
    const unsigned char* at = raw(der);
    return Certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  };
  const Certificate made = parsed(*certificate), issuer = parsed(family->certificate());
  FUZZ_CHECK(made && issuer);
  FUZZ_CHECK(EVP_PKEY_eq(X509_get0_pubkey(made.get()), key->get()) == 1);
  FUZZ_CHECK(X509_verify(made.get(), X509_get0_pubkey(issuer.get())) == 1);
}

}  // namespace
}  // namespace vtpm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vtpm::fuzz::check(std::as_bytes(std::span(data, size)));
  return 0;
}
