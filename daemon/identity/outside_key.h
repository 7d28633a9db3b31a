// SPDX-License-Identifier: Apache-2.0
// A private key that this process does not have: somebody else signs with it. What he answers is
// believed only if the public key says so. Source: Documentation/design/identity.rst.
#pragma once

#include <functional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace vtpm::identity {

struct SigningRequest {
  ByteView message;    // DER of a TBSCertificate or a TBSCertList (RFC 5280): not its digest
  const char* what;    // "certificate" or "crl"
  std::string digest;  // "sha256", "sha384" or "sha512": what goes with the key
  std::string key;     // its key identifier, in hexadecimal
};
// The signature as certificates have it: of ECDSA, DER; of RSA, PKCS #1 v1.5. May take seconds.
using SignOutside = std::function<Result<Bytes>(const SigningRequest&)>;

}  // namespace vtpm::identity
