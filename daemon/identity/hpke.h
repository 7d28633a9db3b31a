// SPDX-License-Identifier: Apache-2.0
// HPKE: sealing to a public key, RFC 9180 in base mode: DHKEM(P-384, HKDF-SHA384), HKDF-SHA384,
// AES-256-GCM; one message for each key schedule. Pure, but for random numbers.
#pragma once

#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace vtpm::identity {

inline constexpr std::size_t kHpkeEnc = 97;  // an uncompressed point of P-384
inline constexpr std::size_t kHpkeTag = 16;

// A key pair of a recipient.
Result<SecretBytes> make_exchange_key();                  // DER, PKCS #8
Result<Bytes> exchange_public_key(ByteView private_key);  // the point, uncompressed
// As people pass it on: SubjectPublicKeyInfo, PEM.
Result<std::string> exchange_key_to_pem(ByteView point);
Result<Bytes> exchange_key_from_pem(std::string_view pem);

// enc (97) | ciphertext | tag (16).
Result<Bytes> hpke_seal(ByteView recipient, std::string_view info, ByteView associated,
                        ByteView plain);
// CORRUPT: it was not sealed to this key with this `info` and `associated`.
Result<SecretBytes> hpke_open(ByteView private_key, std::string_view info, ByteView associated,
                              ByteView sealed);

}  // namespace vtpm::identity
