// SPDX-License-Identifier: Apache-2.0
// What people are shown and given of a host's root certificate. Nothing secret.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace vtpm::identity {

struct RootDescription {
  std::string pem;                             // RFC 7468
  std::string subject;                         // as RFC 4514 writes it
  Bytes sha256;                                // of the certificate's DER: its fingerprint
  std::int64_t not_before = 0, not_after = 0;  // seconds since 1970, UTC
};

Result<RootDescription> describe_root(ByteView certificate);  // DER

}  // namespace vtpm::identity
