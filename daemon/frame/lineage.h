// SPDX-License-Identifier: Apache-2.0
// Where a TPM keeps its descent, and the key that depends on it, bit by bit: the worker makes them,
// the manager and every verifier expect them exactly so. Pure.
//
// Source: US 2014/0040890 figure 7 (706, 711, 712); Documentation/design/identity.rst. Numbers:
// TPM 2.0 Library Part 2, 8.3 (TPMA_OBJECT), 13.4 (TPMA_NV) and 13.5 (TPMS_NV_PUBLIC).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/bytes.h"

namespace vtpm::frame {

// In the range of the TPM's own manufacturer (TCG Registry of Reserved TPM 2.0 Handles).
inline constexpr std::uint32_t kLineageIndex = 0x01000711;
inline constexpr std::uint32_t kGenerationIndex = 0x01000712;
// The attestation key of the identity, and its certificate.
inline constexpr std::uint32_t kAttestationKey = 0x81020001;
inline constexpr std::uint32_t kAttestationCertificate = 0x01c90100;
// Certificates between the root and those of endorsement keys, DER after DER (TCG EK Credential
// Profile 2.5, 2.2.1.5.2).
inline constexpr std::uint32_t kCertificateChain = 0x01c00100;

inline constexpr std::size_t kLineageSize = 32;    // SHA-256
inline constexpr std::size_t kGenerationSize = 8;  // UINT64

// Written with the index's own authorization, which the host alone knows; read with the owner's or
// the platform's, or by kLineageReadPolicy, by everybody; deleted by a policy that does not exist.
// Not by the platform, which in a VM and in an open device is the client's.
inline constexpr std::uint32_t kLineageAttributes = 0x420b0444;     // TPM_NT_EXTEND
inline constexpr std::uint32_t kGenerationAttributes = 0x420b0414;  // TPM_NT_COUNTER
inline constexpr std::uint32_t kNvWritten = 0x20000000;

// What may be done with them by policy: TPM2_PolicyOR of TPM2_PolicyCommandCode of each.
inline constexpr std::array<std::uint32_t, 3> kLineageReaders = {0x14e, 0x184, 0x149};
inline constexpr std::string_view kLineageReadPolicy =
    "0babe81ca7a15f8240f8ce36a1966fca44232599507348f7c04fb33724ce7f80";

// TPMS_NV_PUBLIC of either index.
Bytes lineage_index_area(std::uint32_t index, std::uint32_t attributes, std::size_t size);

// TPMT_PUBLIC of the attestation key up to the coordinates of its point: a restricted signing key
// of P-256 that nothing but `policy` (SHA-256) lets sign.
Bytes attestation_key_head(ByteView policy);

}  // namespace vtpm::frame
