// SPDX-License-Identifier: Apache-2.0
// Certificates and revocation lists in files of people: PEM (RFC 7468), and DER inside. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "identity/event.h"

namespace vtpm::identity {

// Of a certificate's DER.
Result<std::string> to_pem(ByteView certificate);

// DER of what is in a file of anybody, in its order. Text between the blocks is passed over, a
// block of another kind or one that does not read is INVALID_ARGUMENT; so is a file without any.
struct PemContent {
  std::vector<Bytes> certificates;
  std::vector<Bytes> lists;  // X.509 CRLs
};
Result<PemContent> read_pem(std::string_view text);

// What people are shown of a certificate in PEM.
struct CertificateSummary {
  Digest sha256{};               // of its DER: its fingerprint
  std::uint64_t generation = 0;  // of the device, if it says so
};
Result<CertificateSummary> describe_certificate(std::string_view pem);
// "rsa-2048", "p-256": the kind of the key in a certificate, DER; a word that can be part of a
// path.
Result<std::string> key_name(ByteView certificate);

}  // namespace vtpm::identity
