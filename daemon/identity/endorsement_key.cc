// SPDX-License-Identifier: Apache-2.0
#include "identity/endorsement_key.h"

#include <fmt/format.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>

#include <algorithm>
#include <array>

#include "frame/frame.h"

namespace vtpm::identity {
namespace {

using frame::kAlgAes, frame::kAlgCfb, frame::kAlgEcc, frame::kAlgNull, frame::kAlgRsa,
    frame::kAlgSha256, frame::kAlgSha384, frame::kAlgSha512;
// TPMA_OBJECT (Part 2, 8.3) of the low range: fixedTPM, fixedParent, sensitiveDataOrigin,
// adminWithPolicy, restricted, decrypt. The high range has userWithAuth as well.
constexpr std::uint32_t kLowRange = 0x000300b2, kHighRange = kLowRange | 0x40;
constexpr std::uint32_t kExponent = 65537;

struct Template {
  std::uint16_t type;
  std::uint16_t size;  // bits of the modulus, or TPM_ECC_CURVE
  std::uint16_t name_alg;
  std::uint16_t aes_bits;
  std::size_t digest;  // bytes of a digest of name_alg, so of the policy
  std::size_t field;   // bytes of the modulus, or of a coordinate
  const char* curve;   // OpenSSL's name; nullptr: RSA
};
constexpr std::array<Template, 6> kTemplates = {{
    {kAlgRsa, 2048, kAlgSha256, 128, 32, 256, nullptr},
    {kAlgRsa, 3072, kAlgSha384, 256, 48, 384, nullptr},
    {kAlgRsa, 4096, kAlgSha384, 256, 48, 512, nullptr},
    {kAlgEcc, 0x0003, kAlgSha256, 128, 32, 32, "P-256"},
    {kAlgEcc, 0x0004, kAlgSha384, 256, 48, 48, "P-384"},
    {kAlgEcc, 0x0005, kAlgSha512, 256, 64, 66, "P-521"},
}};

// The fields of a TPMT_PUBLIC with a symmetric algorithm and without scheme and KDF.
struct Fields {
  std::uint16_t type = 0, name_alg = 0, symmetric = 0, aes_bits = 0, mode = 0, scheme = 0, size = 0;
  std::uint32_t attributes = 0, exponent = 0;
  std::uint16_t kdf = kAlgNull;
  ByteView policy, first, second;  // modulus, or x and y
};

tl::unexpected<Error> refuse(const std::string& why) {
  return fail(ErrorCode::invalid_argument, "this is no endorsement key: " + why);
}

Result<Fields> read(ByteView tpmt_public) {
  Reader reader(tpmt_public);
  Fields f;
  f.type = reader.u16();
  if (reader.ok() && f.type != kAlgRsa && f.type != kAlgEcc)
    return refuse(fmt::format("its type is 0x{:04x}, neither RSA nor ECC", f.type));
  f.name_alg = reader.u16();
  f.attributes = reader.u32();
  f.policy = reader.sized16();
  f.symmetric = reader.u16();
  if (reader.ok() && f.symmetric != kAlgAes)
    return refuse("what it protects is not encrypted with AES");
  f.aes_bits = reader.u16();
  f.mode = reader.u16();
  f.scheme = reader.u16();
  f.size = reader.u16();
  if (f.type == kAlgRsa) {
    f.exponent = reader.u32();
    f.first = reader.sized16();
  } else {
    f.kdf = reader.u16();
    f.first = reader.sized16();
    f.second = reader.sized16();
  }
  if (!reader.done()) return refuse("its TPMT_PUBLIC is cut off, or something follows it");
  return f;
}

Result<const Template*> find_template(const Fields& f) {
  const auto* const found = std::ranges::find_if(
      kTemplates, [&f](const Template& t) { return t.type == f.type && t.size == f.size; });
  if (found == kTemplates.end())
    return refuse(f.type == kAlgRsa ? fmt::format("RSA of {} bits", f.size)
                                    : fmt::format("curve 0x{:04x}", f.size));
  if (f.attributes != kLowRange && f.attributes != kHighRange)
    return refuse(fmt::format("its attributes are 0x{:08x}", f.attributes));
  // H-6 and H-7 are of the high range alone, as is all that is not for SHA-256.
  if (found->name_alg != kAlgSha256 && f.attributes != kHighRange)
    return refuse("there is no such key in the low range");
  if (f.name_alg != found->name_alg) return refuse("its name has another digest");
  if (f.policy.size() != found->digest) return refuse("its policy is no digest");
  if (f.aes_bits != found->aes_bits || f.mode != kAlgCfb)
    return refuse("AES of another length or mode");
  if (f.scheme != kAlgNull || f.kdf != kAlgNull) return refuse("it has a scheme");
  if (f.exponent != 0) return refuse("its exponent is not the usual one");
  if (f.first.size() != found->field || (f.type == kAlgEcc && f.second.size() != found->field))
    return refuse("its public part has another length");
  return found;
}

using Builder = OwnedBy<OSSL_PARAM_BLD, OSSL_PARAM_BLD_free>;
using Parameters = OwnedBy<OSSL_PARAM, OSSL_PARAM_free>;

Result<Key> make_key(const char* algorithm, OSSL_PARAM_BLD* builder) {
  const Parameters parameters(OSSL_PARAM_BLD_to_param(builder));
  const KeyContext making(EVP_PKEY_CTX_new_from_name(nullptr, algorithm, nullptr));
  if (!parameters || !making || EVP_PKEY_fromdata_init(making.get()) != 1)
    return fail_openssl("read a public key");
  EVP_PKEY* made = nullptr;
  const bool accepted =
      EVP_PKEY_fromdata(making.get(), &made, EVP_PKEY_PUBLIC_KEY, parameters.get()) == 1;
  Key key(made);
  // The point lies on its curve, the modulus is not prime and has no small factor (SP 800-56A and
  // B).
  const KeyContext checking(key ? EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr)
                                : nullptr);
  if (!accepted || !checking || EVP_PKEY_public_check(checking.get()) != 1) {
    ERR_clear_error();
    return refuse(algorithm == std::string_view("EC") ? "its point is not on the curve"
                                                      : "its modulus is none");
  }
  return key;
}

Result<Key> read_rsa(const Fields& f) {
  // A product of two primes of half the length each, as a TPM makes it.
  if ((f.first.front() & std::byte{0x80}) == std::byte{0} ||
      (f.first.back() & std::byte{1}) == std::byte{0})
    return refuse("its modulus is none");
  const Builder builder(OSSL_PARAM_BLD_new());
  const Number modulus(BN_bin2bn(raw(f.first), static_cast<int>(f.first.size()), nullptr));
  if (!builder || !modulus ||
      OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_RSA_N, modulus.get()) != 1 ||
      OSSL_PARAM_BLD_push_uint32(builder.get(), OSSL_PKEY_PARAM_RSA_E, kExponent) != 1)
    return fail_openssl("read a modulus");
  return make_key("RSA", builder.get());
}

}  // namespace

Result<Key> read_point(const char* curve, ByteView x, ByteView y) {
  Bytes point;
  Writer(point).u8(POINT_CONVERSION_UNCOMPRESSED).bytes(x).bytes(y);
  const Builder builder(OSSL_PARAM_BLD_new());
  if (!builder ||
      OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, curve, 0) != 1 ||
      OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(),
                                       point.size()) != 1)
    return fail_openssl("read a point");
  return make_key("EC", builder.get());
}

Result<Key> read_endorsement_key(ByteView tpmt_public) {
  VTPM_TRY(const Fields fields, read(tpmt_public));
  VTPM_TRY(const Template* const form, find_template(fields));
  return form->curve == nullptr ? read_rsa(fields)
                                : read_point(form->curve, fields.first, fields.second);
}

}  // namespace vtpm::identity
