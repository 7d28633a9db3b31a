// SPDX-License-Identifier: Apache-2.0
#include "policy/conditions.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>

namespace vtpm::policy {
namespace {

using frame::Command;

constexpr std::uint32_t kSequenceComplete = 0x13e;
constexpr std::uint32_t kSequenceUpdate = 0x15c;
constexpr std::uint32_t kEventSequenceComplete = 0x185;

// The kind of a handle is its first octet (Part 2, 7.2).
constexpr std::uint32_t kind(std::uint32_t handle) { return handle >> 24; }
constexpr std::uint32_t kHmacSession = 0x02;
constexpr std::uint32_t kPolicySession = 0x03;
constexpr std::uint32_t kTransient = 0x80;
constexpr std::uint32_t kPersistent = 0x81;

constexpr bool is_session(std::uint32_t handle) {
  return handle == frame::kRsPassword || kind(handle) == kHmacSession ||
         kind(handle) == kPolicySession;
}

constexpr bool authorizes_sequence(std::uint32_t code) {
  return code == kSequenceComplete || code == kSequenceUpdate || code == kEventSequenceComplete;
}

// Selected PCRs of each bank; trailing octets without a PCR do not count. Empty if malformed.
using Allocation = std::map<std::uint16_t, Bytes>;

std::optional<Allocation> read_allocation(ByteView bytes) {
  constexpr std::uint32_t max_banks = 16;  // libtpms: HASH_COUNT; bounds the work
  Reader in(bytes);
  const std::uint32_t count = in.u32();
  if (!in.ok() || count > max_banks) return std::nullopt;
  Allocation banks;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint16_t algorithm = in.u16();
    Bytes selection = to_bytes(in.bytes(in.u8()));
    while (!selection.empty() && selection.back() == std::byte{0}) selection.pop_back();
    banks[algorithm] = std::move(selection);  // the last one of a bank counts (Part 3, 22.5)
  }
  if (!in.done()) return std::nullopt;
  return banks;
}

}  // namespace

bool asks_for_linux_null_primary(const Command& command) {
  // drivers/char/tpm/tpm2-sessions.c, tpm2_create_primary(): TPM2B_SENSITIVE_CREATE of two empty
  // buffers; TPM2B_PUBLIC: ECC, SHA-256, 0x00030472 (noDA, fixedTPM, fixedParent,
  // sensitiveDataOrigin, userWithAuth, decrypt, restricted), no policy, AES-128-CFB, no scheme,
  // P-256, no KDF, two empty points; no outside information; no creation PCR.
  constexpr auto parameters = std::to_array<std::uint8_t>({
      0x00, 0x04, 0x00, 0x00, 0x00, 0x00,                          // inSensitive
      0x00, 0x1a, 0x00, 0x23, 0x00, 0x0b, 0x00, 0x03, 0x04, 0x72,  // type, nameAlg, attributes
      0x00, 0x00, 0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10,  // authPolicy, symmetric, scheme
      0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00,              // curve, kdf, unique
      0x00, 0x00, 0x00, 0x00, 0x00, 0x00,                          // outsideInfo, creationPCR
  });
  if (command.handles().size() != 1 || command.handles()[0] != frame::kRhNull) return false;
  if (command.sessions().size() != 1) return false;
  const frame::Session& session = command.sessions()[0];
  return session.handle == frame::kRsPassword && session.nonce.empty() && session.hmac.empty() &&
         std::ranges::equal(command.parameters, std::as_bytes(std::span(parameters)));
}

Reason is_linux_null_primary(const Command& command, const Facts& facts) {
  return facts.options.linux_hmac && asks_for_linux_null_primary(command) ? Reason::allowed
                                                                          : Reason::generates_key;
}

Reason session_without_key(const Command& command, const Facts& facts) {
  const std::uint32_t tpm_key = command.handles()[0];
  const std::uint32_t bind = command.handles()[1];
  if (bind != frame::kRhNull) return Reason::salted_or_bound_session;
  if (tpm_key == frame::kRhNull) return Reason::allowed;

  // The one salted session that Linux makes: HMAC, and the salt is for its own null primary.
  Reader in(command.parameters);
  in.sized16();  // nonceCaller
  in.sized16();  // encryptedSalt
  const std::uint8_t type = in.u8();
  constexpr std::uint8_t hmac_type = 0;
  const bool linux_session = facts.options.linux_hmac && facts.null_primaries.contains(tpm_key) &&
                             in.ok() && type == hmac_type;
  return linux_session ? Reason::allowed : Reason::salted_or_bound_session;
}

Reason secret_of_open_hierarchy(const Command& command, const Facts& /*facts*/) {
  switch (command.handles()[0]) {
    case frame::kRhLockout: return Reason::lockout_authorization;
    case frame::kRhOwner:
    case frame::kRhEndorsement:
    case frame::kRhPlatform:
    case frame::kRhNull: break;
    default: return Reason::uses_key;  // the secret of an object, an NV index or a PCR
  }
  Reader in(command.parameters);
  in.sized16();                                // nonceTPM
  in.sized16();                                // cpHashA
  in.sized16();                                // policyRef
  const std::uint32_t expiration = in.u32();   // INT32
  constexpr std::uint32_t sign = 0x80000000U;  // negative: a ticket is asked for
  return in.ok() && (expiration & sign) == 0 ? Reason::allowed : Reason::asks_for_ticket;
}

Reason platform_hierarchy_only(const Command& command, const Facts& /*facts*/) {
  switch (command.handles()[0]) {
    case frame::kRhPlatform: return Reason::allowed;
    case frame::kRhLockout: return Reason::lockout_authorization;
    default: return Reason::hierarchy_not_platform;
  }
}

// A bank that is not named keeps its PCRs (Part 3, 22.5), so every bank named must ask for exactly
// what it has.
Reason pcr_allocation_stays(const Command& command, const Facts& facts) {
  if (facts.options.pcr_banks_kept) return Reason::allowed;
  const std::optional<Allocation> asked = read_allocation(command.parameters);
  const std::optional<Allocation> in_force = read_allocation(facts.pcr_allocation);
  if (!asked || !in_force) return Reason::pcr_allocation_changes;
  const bool same = std::ranges::all_of(*asked, [&](const auto& bank) {
    const auto it = in_force->find(bank.first);
    return it == in_force->end() ? bank.second.empty() : it->second == bank.second;
  });
  return same ? Reason::allowed : Reason::pcr_allocation_changes;
}

// GetTime (privacyAdmin, sign) and GetSessionAuditDigest (privacyAdmin, sign, session).
Reason unsigned_attestation(const Command& command, const Facts& /*facts*/) {
  return command.handles()[1] == frame::kRhNull ? Reason::allowed : Reason::attests_by_key;
}

bool read_context(ByteView parameters, SavedContext& out) {
  Reader in(parameters);
  in.u64();  // sequence
  out.saved_handle = in.u32();
  out.hierarchy = in.u32();
  return in.ok();
}

// The proofs of a blank state are public, so a context of the owner, endorsement or platform
// hierarchy can be made anywhere. The null proof is fresh at every reset.
Reason context_of_null_hierarchy(const Command& command, const Facts& /*facts*/) {
  SavedContext context;
  return read_context(command.parameters, context) && context.hierarchy == frame::kRhNull
             ? Reason::allowed
             : Reason::context_of_keyed_hierarchy;
}

Reason walk(const frame::CommandInfo& info, const Command& command, const Facts& facts) {
  for (const std::uint32_t handle : command.handles().first(info.auth_handles)) {
    if (handle == frame::kRhLockout) return Reason::lockout_authorization;
    // Authorizing an object uses its secret. Hash sequences are the only objects that a read-only
    // device has, beside the null primary of Linux.
    const bool sequence = authorizes_sequence(command.code) && kind(handle) == kTransient &&
                          !facts.null_primaries.contains(handle);
    if ((kind(handle) == kTransient || kind(handle) == kPersistent) && !sequence) {
      return Reason::session_uses_key;
    }
  }
  const bool sessions = std::ranges::all_of(
      command.sessions(), [](const frame::Session& s) { return is_session(s.handle); });
  return sessions ? Reason::allowed : Reason::session_uses_key;
}

}  // namespace vtpm::policy
