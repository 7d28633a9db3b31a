// SPDX-License-Identifier: Apache-2.0
// Descent: what the certificate of a device's key says of where the device comes from. An extension
// of X.509, in DER:
//
//   Descent ::= SEQUENCE {
//     version     INTEGER (1),
//     lineage     OCTET STRING (SIZE(32)),           -- LINEAGE when the key was made
//     generation  INTEGER (1..9007199254740991),     -- and GENERATION
//     kind        ENUMERATED { container(1), vm(2), open(3) },
//     parent      OCTET STRING (SIZE(32)) OPTIONAL } -- SHA-256 of the attestation certificate of
//                                                    -- the device that this one was cloned from
//
// `open`: the platform hierarchy is the client's, who can change the endorsement seed. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/result.h"
#include "identity/event.h"

struct x509_st;

namespace vtpm::identity {

inline constexpr const char* kDescentExtension =
    "2.25.273505369634264673739436812212240638749";  // an OID of a random UUID, ITU-T X.667

struct Descent {
  Digest lineage{};
  std::uint64_t generation = 1;
  std::uint8_t kind = 1;  // privsep::DeviceKind
  std::optional<Digest> parent{};
  bool operator==(const Descent&) const = default;
};

Bytes encode(const Descent& descent);
// INVALID_ARGUMENT: it is not exactly what encode() writes.
Result<Descent> decode_descent(ByteView der);
// NOT_FOUND: the certificate says nothing of it.
Result<Descent> read_descent(const x509_st* certificate);

}  // namespace vtpm::identity
