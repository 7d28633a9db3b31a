// SPDX-License-Identifier: Apache-2.0
// For tests: keys, and what a TPM would say of them, written down field by field.
#pragma once

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>

#include <array>
#include <cstdlib>

#include "identity/openssl.h"

namespace vtpm::identity::testing {

inline constexpr std::uint32_t kLow = 0x000300b2, kHigh = 0x000300f2;

// A template's row; `curve` nullptr: RSA.
struct Form {
  const char* curve;
  std::uint16_t size;  // bits, or TPM_ECC_CURVE
  std::uint16_t name_alg;
  std::uint16_t aes_bits;
  std::size_t digest;
  std::size_t field;
  std::uint32_t attributes;
};
inline constexpr std::array<Form, 8> kForms = {{
    {nullptr, 2048, 0x000b, 128, 32, 256, kLow},
    {nullptr, 2048, 0x000b, 128, 32, 256, kHigh},
    {nullptr, 3072, 0x000c, 256, 48, 384, kHigh},
    {nullptr, 4096, 0x000c, 256, 48, 512, kHigh},
    {"P-256", 3, 0x000b, 128, 32, 32, kLow},
    {"P-256", 3, 0x000b, 128, 32, 32, kHigh},
    {"P-384", 4, 0x000c, 256, 48, 48, kHigh},
    {"P-521", 5, 0x000d, 256, 64, 66, kHigh},
}};

// A product of two primes: the larger one is everybody's (RFC 3526), so that it takes no time to
// make. OpenSSL's check of a modulus is random, and now and then refuses one that has a small
// factor, so no other number will do. For other lengths, which are refused for that: just a number.
inline Number make_modulus(int bits) {
  Number modulus(BN_new());
  BIGNUM* (*known)(BIGNUM*) = nullptr;
  switch (bits) {
    case 2048: known = BN_get_rfc3526_prime_1536; break;
    case 3072: known = BN_get_rfc3526_prime_2048; break;
    case 4096: known = BN_get_rfc3526_prime_3072; break;
    default:
      if (BN_rand(modulus.get(), bits, BN_RAND_TOP_TWO, BN_RAND_BOTTOM_ODD) != 1) std::abort();
      return modulus;
  }
  const OwnedBy<BN_CTX, BN_CTX_free> context(BN_CTX_new());
  const Number larger(known(nullptr)), smaller(BN_new());
  const int rest = bits - BN_num_bits(larger.get());
  if (BN_generate_prime_ex(smaller.get(), rest, 0, nullptr, nullptr, nullptr) != 1 ||
      BN_mul(modulus.get(), larger.get(), smaller.get(), context.get()) != 1 ||
      BN_num_bits(modulus.get()) != bits)
    std::abort();
  return modulus;
}

inline Bytes padded(const Number& number, std::size_t size) {
  Bytes out(size);
  auto* const to = reinterpret_cast<unsigned char*>(out.data());
  if (BN_bn2binpad(number.get(), to, static_cast<int>(size)) < 0) std::abort();
  return out;
}

inline Bytes number_of(const Key& key, const char* name, std::size_t size) {
  BIGNUM* got = nullptr;
  if (EVP_PKEY_get_bn_param(key.get(), name, &got) != 1) std::abort();
  return padded(Number(got), size);
}

// A public key with that modulus.
inline Key make_rsa(int bits) {
  const Number modulus = make_modulus(bits), exponent(BN_new());
  BN_set_word(exponent.get(), RSA_F4);
  std::array<OSSL_PARAM, 3> parameters{};
  std::array<unsigned char, 1024> n{};
  std::array<unsigned char, 8> e{};
  BN_bn2nativepad(modulus.get(), n.data(), bits / 8);
  BN_bn2nativepad(exponent.get(), e.data(), 4);
  parameters[0] =
      OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, n.data(), static_cast<std::size_t>(bits) / 8);
  parameters[1] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_E, e.data(), 4);
  parameters[2] = OSSL_PARAM_construct_end();
  const KeyContext making(EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr));
  EVP_PKEY* made = nullptr;
  if (EVP_PKEY_fromdata_init(making.get()) != 1 ||
      EVP_PKEY_fromdata(making.get(), &made, EVP_PKEY_PUBLIC_KEY, parameters.data()) != 1)
    std::abort();
  return Key(made);
}

inline Key generate(const Form& form) {
  return form.curve != nullptr ? Key(EVP_EC_gen(form.curve)) : make_rsa(form.size);
}

// All before the public part.
inline Bytes head_of(const Form& form) {
  Bytes out;
  Writer writer(out);
  writer.u16(form.curve == nullptr ? 0x0001 : 0x0023).u16(form.name_alg).u32(form.attributes);
  writer.sized16(Bytes(form.digest, std::byte{0x83}));
  writer.u16(0x0006).u16(form.aes_bits).u16(0x0043).u16(0x0010).u16(form.size);
  if (form.curve == nullptr)
    writer.u32(0);
  else
    writer.u16(0x0010);
  return out;
}

inline Bytes tpmt_public(const Form& form, ByteView first, ByteView second) {
  Bytes out = head_of(form);
  Writer(out).sized16(first);
  if (form.curve != nullptr) Writer(out).sized16(second);
  return out;
}

inline Bytes tpmt_public(const Form& form, const Key& key) {
  if (form.curve == nullptr)
    return tpmt_public(form, number_of(key, OSSL_PKEY_PARAM_RSA_N, form.field), {});
  return tpmt_public(form, number_of(key, OSSL_PKEY_PARAM_EC_PUB_X, form.field),
                     number_of(key, OSSL_PKEY_PARAM_EC_PUB_Y, form.field));
}

}  // namespace vtpm::identity::testing
