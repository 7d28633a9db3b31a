// SPDX-License-Identifier: Apache-2.0
// Owners for what OpenSSL hands out, and its failures in words.
#pragma once

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace vtpm::identity {

template <auto Free>
struct FreeWith {
  template <class T>
  void operator()(T* p) const {
    Free(p);
  }
};
template <class T, auto Free>
using OwnedBy = std::unique_ptr<T, FreeWith<Free>>;

// Of these, those that hold a private key are wiped when they are freed; OpenSSL sees to that.
using Key = OwnedBy<EVP_PKEY, EVP_PKEY_free>;
using KeyContext = OwnedBy<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;
using Number = OwnedBy<BIGNUM, BN_free>;
using Certificate = OwnedBy<X509, X509_free>;
using Bio = OwnedBy<BIO, BIO_free_all>;

// What OpenSSL says of it is left out: it can name neither cause nor cure to a person.
inline tl::unexpected<Error> fail_openssl(const std::string& what) {
  ERR_clear_error();
  return fail(ErrorCode::internal, "OpenSSL cannot " + what);
}

inline const unsigned char* raw(ByteView bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

// DER of a structure, by its i2d function; empty if that fails.
template <class Buffer, class T, class Encode>
Buffer to_der(T* structure, Encode encode) {
  const int size = encode(structure, nullptr);
  Buffer out(size > 0 ? static_cast<std::size_t>(size) : 0);
  if (out.empty()) return out;
  auto* at = reinterpret_cast<unsigned char*>(out.data());
  if (encode(structure, &at) != size) out.clear();
  return out;
}

// One structure and nothing after it, of a size that this program writes; nullptr otherwise.
template <class Owner, class Decode>
Owner from_der(ByteView der, Decode decode) {
  constexpr std::size_t kLongestDer = 4096;
  if (der.size() > kLongestDer) return {};
  const unsigned char* at = raw(der);
  Owner structure(decode(nullptr, &at, static_cast<long>(der.size())));
  if (at != raw(der) + der.size()) structure.reset();
  return structure;
}

// Leaves OpenSSL's errors where they are.
inline bool signed_by(const EVP_PKEY* key, const EVP_MD* digest, ByteView message,
                      ByteView signature) {
  const OwnedBy<EVP_MD_CTX, EVP_MD_CTX_free> context(EVP_MD_CTX_new());
  // OpenSSL takes the key for its own use, and does not change it.
  return context && !signature.empty() &&
         EVP_DigestVerifyInit(context.get(), nullptr, digest, nullptr,
                              const_cast<EVP_PKEY*>(key)) == 1 &&
         EVP_DigestVerify(context.get(), raw(signature), signature.size(), raw(message),
                          message.size()) == 1;
}

// What was written to a buffer in memory.
inline std::string text_in(BIO* buffer) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(buffer, &data);
  return size > 0 ? std::string(data, static_cast<std::size_t>(size)) : std::string();
}

// DER, PKCS #8; nullptr if it is none.
inline Key read_private_key(ByteView der) {
  const auto info = from_der<OwnedBy<PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free>>(
      der, d2i_PKCS8_PRIV_KEY_INFO);
  return Key(info ? EVP_PKCS82PKEY(info.get()) : nullptr);
}

}  // namespace vtpm::identity
