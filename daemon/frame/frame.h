// SPDX-License-Identifier: Apache-2.0
// A TPM 2.0 command frame, taken apart without interpreting its parameters.
//
// Pure functions over untrusted bytes; nothing here keeps a reference beyond the views it returns.
// Source: TPM 2.0 Library, Part 1, section 18 "Command/Response Structure"; Part 2, 6.9 (tags).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/bytes.h"

namespace vtpm::frame {

inline constexpr std::size_t kHeaderSize = 10;  // tag, size, command code
inline constexpr std::size_t kMaxFrame = 4096;  // what libtpms and the kernel carry
inline constexpr std::uint16_t kTagNoSessions = 0x8001;
inline constexpr std::uint16_t kTagSessions = 0x8002;
inline constexpr std::size_t kMaxDigest = 64;  // limit of a session's nonce and hmac: SHA-512

// Response codes used by name (Part 2, 6.6).
inline constexpr std::uint32_t kRcSuccess = 0x000;
inline constexpr std::uint32_t kRcBadTag = 0x01e;
inline constexpr std::uint32_t kRcValue = 0x084;
inline constexpr std::uint32_t kRcSize = 0x095;
inline constexpr std::uint32_t kRcInsufficient = 0x09a;
inline constexpr std::uint32_t kRcInitialize = 0x100;
inline constexpr std::uint32_t kRcFailure = 0x101;
inline constexpr std::uint32_t kRcCommandSize = 0x142;
inline constexpr std::uint32_t kRcCommandCode = 0x143;
inline constexpr std::uint32_t kRcAuthSize = 0x144;
inline constexpr std::uint32_t kRcReadOnly = 0x156;  // library specification V184

// Command codes used by name (Part 2, 6.5.2); commands.h has all of them.
inline constexpr std::uint32_t kCcEvictControl = 0x120;
inline constexpr std::uint32_t kCcHierarchyControl = 0x121;
inline constexpr std::uint32_t kCcNvUndefineSpace = 0x122;
inline constexpr std::uint32_t kCcChangeEps = 0x124;
inline constexpr std::uint32_t kCcChangePps = 0x125;
inline constexpr std::uint32_t kCcHierarchyChangeAuth = 0x129;
inline constexpr std::uint32_t kCcNvDefineSpace = 0x12a;
inline constexpr std::uint32_t kCcCreatePrimary = 0x131;
inline constexpr std::uint32_t kCcNvIncrement = 0x134;
inline constexpr std::uint32_t kCcNvExtend = 0x136;
inline constexpr std::uint32_t kCcNvWrite = 0x137;
inline constexpr std::uint32_t kCcNvWriteLock = 0x138;
inline constexpr std::uint32_t kCcPcrEvent = 0x13c;
inline constexpr std::uint32_t kCcPcrReset = 0x13d;
inline constexpr std::uint32_t kCcStartup = 0x144;
inline constexpr std::uint32_t kCcNvRead = 0x14e;
inline constexpr std::uint32_t kCcEcdhZGen = 0x154;
inline constexpr std::uint32_t kCcHmac = 0x155;
inline constexpr std::uint32_t kCcRsaDecrypt = 0x159;
inline constexpr std::uint32_t kCcUnseal = 0x15e;
inline constexpr std::uint32_t kCcContextLoad = 0x161;
inline constexpr std::uint32_t kCcContextSave = 0x162;
inline constexpr std::uint32_t kCcEncryptDecrypt = 0x164;
inline constexpr std::uint32_t kCcFlushContext = 0x165;
inline constexpr std::uint32_t kCcNvReadPublic = 0x169;
inline constexpr std::uint32_t kCcReadPublic = 0x173;
inline constexpr std::uint32_t kCcGetCapability = 0x17a;
inline constexpr std::uint32_t kCcGetTestResult = 0x17c;
inline constexpr std::uint32_t kCcPcrExtend = 0x182;
inline constexpr std::uint32_t kCcEncryptDecrypt2 = 0x193;

// Capabilities used by name (Part 2, 6.12).
inline constexpr std::uint32_t kCapHandles = 1;
inline constexpr std::uint32_t kCapPcrs = 5;
inline constexpr std::uint32_t kCapTpmProperties = 6;

// Algorithms used by name (Part 2, 6.3).
inline constexpr std::uint16_t kAlgRsa = 0x0001;
inline constexpr std::uint16_t kAlgAes = 0x0006;
inline constexpr std::uint16_t kAlgSha256 = 0x000b;
inline constexpr std::uint16_t kAlgSha384 = 0x000c;
inline constexpr std::uint16_t kAlgSha512 = 0x000d;
inline constexpr std::uint16_t kAlgNull = 0x0010;
inline constexpr std::uint16_t kAlgEcdsa = 0x0018;
inline constexpr std::uint16_t kAlgEcc = 0x0023;
inline constexpr std::uint16_t kAlgCfb = 0x0043;

// Permanent handles and session handles used by name (Part 2, 7.4).
inline constexpr std::uint32_t kRhOwner = 0x40000001;
inline constexpr std::uint32_t kRhNull = 0x40000007;
inline constexpr std::uint32_t kRsPassword = 0x40000009;
inline constexpr std::uint32_t kRhLockout = 0x4000000a;
inline constexpr std::uint32_t kRhEndorsement = 0x4000000b;
inline constexpr std::uint32_t kRhPlatform = 0x4000000c;

struct Session {
  std::uint32_t handle = 0;
  ByteView nonce;
  std::uint8_t attributes = 0;  // TPMA_SESSION: 0x20 decrypt, 0x40 encrypt, 0x80 audit
  ByteView hmac;                // a password, if handle is kRsPassword: a secret
};

// What is wrong with a frame, before its command is looked at; none = well formed.
enum class Malformed : std::uint8_t { none, too_short, size_mismatch, bad_tag, handles, sessions };

struct Command {
  std::uint16_t tag = 0;
  std::uint32_t code = 0;  // TPM_CC
  std::array<std::uint32_t, 3> handle_array{};
  std::size_t handle_count = 0;
  std::array<Session, 3> session_array{};
  std::size_t session_count = 0;
  ByteView parameters;  // after handles and authorization area
  [[nodiscard]] std::span<const std::uint32_t> handles() const {
    return {handle_array.data(), handle_count};
  }
  [[nodiscard]] std::span<const Session> sessions() const {
    return {session_array.data(), session_count};
  }
};

struct Parsed {
  Malformed malformed = Malformed::none;
  std::uint32_t rc = 0;  // what libtpms 0.9.2 answers to a malformed frame (measured); else 0
  bool known = false;    // the code is in the command table; tag and code are set
  Command command;       // handles, sessions, parameters: only if known and well formed
};

// True if the frame starts with a tag of a TPM 1.2 command (Part 2, 6.9: never used by 2.0).
bool has_tpm12_tag(ByteView frame);

// Takes a frame apart. Needs the command table (commands.h) to know how many handles there are.
Parsed parse(ByteView frame);

// A reply that is a header alone: tag kTagNoSessions, size 10, `rc`.
std::array<std::byte, kHeaderSize> reply_header(std::uint32_t rc);

// The response code of a reply; kRcFailure if it is shorter than a header.
std::uint32_t response_code(ByteView reply);

}  // namespace vtpm::frame
