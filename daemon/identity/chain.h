// SPDX-License-Identifier: Apache-2.0
// Chains of certificates, by the rules of RFC 5280 as OpenSSL's strict mode has them. Certificates
// of anybody. Pure, but for the time of day.
#pragma once

#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "identity/openssl.h"

namespace vtpm::identity {

inline constexpr std::size_t kLongestChain = 8;

// From `leaf` to `root`, which is trusted, both included, by way of some of `between`, DER, in any
// order. INVALID_ARGUMENT: there is none; the message says why.
Result<std::vector<Certificate>> find_chain(X509* leaf, const std::vector<Bytes>& between,
                                            X509* root);

// From the one that is of `key` to the one among them that certifies itself.
Result<std::vector<Certificate>> chain_of_key(EVP_PKEY* key, const std::vector<Bytes>& all);

}  // namespace vtpm::identity
