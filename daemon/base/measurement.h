// SPDX-License-Identifier: Apache-2.0
// Measurement: what a platform without firmware extends into a PCR before anybody uses its TPM.
//
// Which PCR is for what, and why: Documentation/admin-guide/measured-boot.rst.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace vtpm {

struct HashBank {
  std::uint16_t algorithm = 0;  // TPM_ALG_ID
  std::size_t size = 0;         // of its digest
  const char* name = "";        // as OpenSSL calls it
};
// Every bank that libtpms 0.9.2 can have. TPM2_PCR_Extend passes over those that are switched off.
inline constexpr std::array<HashBank, 4> kHashBanks{
    {{0x0004, 20, "SHA1"}, {0x000b, 32, "SHA256"}, {0x000c, 48, "SHA384"}, {0x000d, 64, "SHA512"}}};
inline constexpr std::size_t kDigestsSize = 20 + 32 + 48 + 64;
// One digest of each bank, one after another, in the order of kHashBanks.
using Digests = std::array<std::byte, kDigestsSize>;

struct Measurement {
  std::uint8_t pcr = 0;
  Digests digests{};
};

// PCRs 0 to 15 cannot be reset but by a power cycle; from 16 on a client can do it.
inline constexpr std::uint8_t kMeasurablePcrs = 16;
inline constexpr std::uint8_t kTextPcr = 8;  // command lines
inline constexpr std::uint8_t kFilePcr = 9;  // what is loaded

// Limits, checked wherever measurements come from another process.
inline constexpr std::size_t kMaxMeasurements = 32;  // of one power-on, as asked for
inline constexpr std::size_t kMaxEvents = kMaxMeasurements + kMeasurablePcrs;  // and separators
inline constexpr std::size_t kMaxEventTexts = std::size_t{32} * 1024;  // all of one power-on

}  // namespace vtpm
