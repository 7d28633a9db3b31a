// SPDX-License-Identifier: Apache-2.0
// Signatures of a key that is outside (outside_key.h), below what OpenSSL has made.
#pragma once

#include "identity/openssl.h"
#include "identity/outside_key.h"

namespace vtpm::identity {

// INVALID_ARGUMENT: the key is none that certificates are signed with here: those on P-256, P-384
// and P-521, and of RSA from 2048 bits on.
Result<void> check_outside_key(EVP_PKEY* key);
// A new key of the same kind. What it signs says with which algorithm, and gets another signature.
Result<Key> stand_in_for(EVP_PKEY* key);
const EVP_MD* digest_for(EVP_PKEY* key);

// `complete`: something with the signature of a stand-in (RFC 5280, 4.1: what is signed, the
// algorithm, the signature). The same with that of `key`, of which the public part is enough.
// `request` lacks message and digest. PERMISSION: what `sign` gave is not of this key.
Result<Bytes> sign_again(ByteView complete, EVP_PKEY* key, SigningRequest request,
                         const SignOutside& sign);

}  // namespace vtpm::identity
