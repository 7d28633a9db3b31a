// SPDX-License-Identifier: Apache-2.0
#include "identity/outside_signature.h"

#include <openssl/ec.h>
#include <openssl/rsa.h>

#include <array>
#include <cstring>
#include <utility>

namespace vtpm::identity {
namespace {

constexpr int kLeastBits = 2048;  // of RSA

struct Curve {
  const char* name;  // as OpenSSL calls its group
  const char* digest;
};
constexpr std::array<Curve, 3> kCurves{{
    {"prime256v1", "sha256"},
    {"secp384r1", "sha384"},
    {"secp521r1", "sha512"},
}};

bool is_rsa(EVP_PKEY* key) { return EVP_PKEY_is_a(key, "RSA") == 1; }

// Of an EC key that can be used; nullptr: it is none.
const Curve* curve_of(EVP_PKEY* key) {
  std::array<char, 64> group{};
  if (EVP_PKEY_is_a(key, "EC") != 1 ||
      EVP_PKEY_get_group_name(key, group.data(), group.size(), nullptr) != 1)
    return nullptr;
  for (const Curve& curve : kCurves)
    if (std::strcmp(group.data(), curve.name) == 0) return &curve;
  return nullptr;
}

const char* digest_name(EVP_PKEY* key) {
  const Curve* const curve = is_rsa(key) ? nullptr : curve_of(key);
  return curve == nullptr ? "sha256" : curve->digest;
}

// The content of the element of DER that `bytes` begins with. Empty: there is none.
ByteView content_of(ByteView bytes) {
  const unsigned char* at = raw(bytes);
  long size = 0;
  int tag = 0, type = 0;
  const int flags = ASN1_get_object(&at, &size, &tag, &type, static_cast<long>(bytes.size()));
  if ((flags & 0x80) != 0 || (flags & 1) != 0) return {};  // it failed, or states no length
  return bytes.subspan(static_cast<std::size_t>(at - raw(bytes)), static_cast<std::size_t>(size));
}

// The whole element; `rest` is what is behind it then.
ByteView take_element(ByteView& rest) {
  const ByteView content = content_of(rest);
  if (content.empty()) return {};
  const auto size = static_cast<std::size_t>(content.data() - rest.data()) + content.size();
  return std::exchange(rest, rest.subspan(size)).first(size);
}

Bytes element(int tag, bool constructed, ByteView content) {
  const int size = static_cast<int>(content.size());
  Bytes out(static_cast<std::size_t>(ASN1_object_size(constructed ? 1 : 0, size, tag)) -
            content.size());
  auto* at = reinterpret_cast<unsigned char*>(out.data());
  ASN1_put_object(&at, constructed ? 1 : 0, size, tag, V_ASN1_UNIVERSAL);
  Writer(out).bytes(content);
  return out;
}

}  // namespace

Result<void> check_outside_key(EVP_PKEY* key) {
  const bool good = key != nullptr &&
                    (is_rsa(key) ? EVP_PKEY_get_bits(key) >= kLeastBits : curve_of(key) != nullptr);
  ERR_clear_error();
  if (!good)
    return fail(ErrorCode::invalid_argument,
                "the certificate's key is not one that can sign for this host",
                "take a key on P-256, P-384 or P-521, or of RSA with at least 2048 bits");
  return {};
}

Result<Key> stand_in_for(EVP_PKEY* key) {
  Key made;
  if (is_rsa(key))
    made.reset(EVP_RSA_gen(kLeastBits));
  else if (const Curve* const curve = curve_of(key))
    made.reset(EVP_EC_gen(curve->name));
  if (!made) return fail_openssl("make a key");
  return made;
}

const EVP_MD* digest_for(EVP_PKEY* key) { return EVP_get_digestbyname(digest_name(key)); }

Result<Bytes> sign_again(ByteView complete, EVP_PKEY* key, SigningRequest request,
                         const SignOutside& sign) {
  ByteView rest = complete;
  const ByteView outer = take_element(rest);
  ByteView content = content_of(outer);
  const ByteView message = take_element(content), algorithm = take_element(content);
  if (message.empty() || algorithm.empty()) return fail_openssl("read what is to be signed");
  request.message = message;
  request.digest = digest_name(key);
  VTPM_TRY(const Bytes signature, sign(request));
  const bool good = signed_by(key, digest_for(key), message, signature);
  ERR_clear_error();
  if (!good)
    return fail(ErrorCode::permission,
                "what came as the signature of the host's certificate authority is none of its "
                "key's",
                "the command of --ca-sign-command has to sign with the key " + request.key +
                    " and " + request.digest +
                    ", and write the signature alone: ECDSA as DER, "
                    "RSA as PKCS #1 v1.5");
  Bytes bits{std::byte{0}};  // no bit of the last octet is unused
  Writer(bits).bytes(signature);
  Bytes parts;
  Writer(parts).bytes(message).bytes(algorithm).bytes(element(V_ASN1_BIT_STRING, false, bits));
  return element(V_ASN1_SEQUENCE, true, parts);
}

}  // namespace vtpm::identity
