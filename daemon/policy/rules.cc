// SPDX-License-Identifier: Apache-2.0
#include "policy/rules.h"

#include <algorithm>
#include <array>

#include "frame/code_index.h"

namespace vtpm::policy {
namespace {

using enum Reason;

// Allowed in every form; a run without sessions leaves nothing / something to keep.
constexpr Rule reads(std::uint32_t code, std::string_view name) {
  return {code, name, Verdict::allow, allowed, nullptr, Effect::none};
}
constexpr Rule changes(std::uint32_t code, std::string_view name) {
  return {code, name, Verdict::allow, allowed, nullptr, Effect::volatile_state};
}
constexpr Rule deny(std::uint32_t code, std::string_view name, Reason why,
                    Effect effect = Effect::volatile_state) {
  return {code, name, Verdict::deny, why, nullptr, effect};
}
constexpr Rule only_if(std::uint32_t code, std::string_view name, Condition condition, Reason why) {
  return {code, name, Verdict::conditional, why, condition, Effect::volatile_state};
}

// clang-format off
constexpr std::array kRules = {
    deny(0x11f, "NV_UndefineSpaceSpecial", changes_nv),
    deny(0x120, "EvictControl", loads_or_stores_key),
    changes(0x121, "HierarchyControl"),  // RAM only; the switch to read-write sets the enables again
    deny(0x122, "NV_UndefineSpace", changes_nv),
    deny(0x124, "ChangeEPS", generates_key),
    deny(0x125, "ChangePPS", generates_key),
    deny(0x126, "Clear", generates_key),
    deny(0x127, "ClearControl", changes_persistent_authorization),
    deny(0x128, "ClockSet", changes_persistent_authorization),
    only_if(0x129, "HierarchyChangeAuth", platform_hierarchy_only, hierarchy_not_platform),
    deny(0x12a, "NV_DefineSpace", changes_nv),
    only_if(0x12b, "PCR_Allocate", pcr_allocation_stays, pcr_allocation_changes),
    deny(0x12c, "PCR_SetAuthPolicy", changes_persistent_authorization),
    deny(0x12d, "PP_Commands", changes_persistent_authorization),
    deny(0x12e, "SetPrimaryPolicy", changes_persistent_authorization),
    deny(0x130, "ClockRateAdjust", changes_persistent_authorization),
    only_if(0x131, "CreatePrimary", is_linux_null_primary, generates_key),
    deny(0x132, "NV_GlobalWriteLock", changes_nv),
    deny(0x133, "GetCommandAuditDigest", attests_by_key),
    deny(0x134, "NV_Increment", changes_nv),
    deny(0x135, "NV_SetBits", changes_nv),
    deny(0x136, "NV_Extend", changes_nv),
    deny(0x137, "NV_Write", changes_nv),
    deny(0x138, "NV_WriteLock", changes_nv),
    deny(0x139, "DictionaryAttackLockReset", dictionary_attack),
    deny(0x13a, "DictionaryAttackParameters", changes_persistent_authorization),
    deny(0x13b, "NV_ChangeAuth", changes_nv),
    changes(0x13c, "PCR_Event"),
    changes(0x13d, "PCR_Reset"),
    changes(0x13e, "SequenceComplete"),
    deny(0x13f, "SetAlgorithmSet", changes_persistent_authorization),
    deny(0x140, "SetCommandCodeAuditStatus", changes_persistent_authorization),
    changes(0x142, "IncrementalSelfTest"),
    changes(0x143, "SelfTest"),
    changes(0x144, "Startup"),
    changes(0x145, "Shutdown"),
    changes(0x146, "StirRandom"),  // the caller may count on what it stirred in
    deny(0x147, "ActivateCredential", loads_or_stores_key),
    deny(0x148, "Certify", attests_by_key),
    changes(0x149, "PolicyNV"),
    deny(0x14a, "CertifyCreation", attests_by_key),
    deny(0x14b, "Duplicate", loads_or_stores_key),
    only_if(0x14c, "GetTime", unsigned_attestation, attests_by_key),
    only_if(0x14d, "GetSessionAuditDigest", unsigned_attestation, attests_by_key),
    reads(0x14e, "NV_Read"),  // always authorized, so that a run without sessions only fails
    deny(0x14f, "NV_ReadLock", changes_nv),
    deny(0x150, "ObjectChangeAuth", loads_or_stores_key),
    only_if(0x151, "PolicySecret", secret_of_open_hierarchy, asks_for_ticket),
    deny(0x152, "Rewrap", loads_or_stores_key),
    deny(0x153, "Create", generates_key),
    deny(0x154, "ECDH_ZGen", uses_key),
    deny(0x155, "HMAC", uses_key),
    deny(0x156, "Import", loads_or_stores_key),
    deny(0x157, "Load", loads_or_stores_key),
    deny(0x158, "Quote", attests_by_key),
    deny(0x159, "RSA_Decrypt", uses_key),
    deny(0x15b, "HMAC_Start", uses_key),
    changes(0x15c, "SequenceUpdate"),
    deny(0x15d, "Sign", uses_key),
    deny(0x15e, "Unseal", uses_key),
    deny(0x160, "PolicySigned", policy_by_key_or_ticket),
    only_if(0x161, "ContextLoad", context_of_null_hierarchy, context_of_keyed_hierarchy),
    changes(0x162, "ContextSave"),
    deny(0x163, "ECDH_KeyGen", generates_key),
    deny(0x164, "EncryptDecrypt", uses_key),
    changes(0x165, "FlushContext"),
    deny(0x167, "LoadExternal", loads_or_stores_key),
    deny(0x168, "MakeCredential", loads_or_stores_key),
    reads(0x169, "NV_ReadPublic"),
    deny(0x16a, "PolicyAuthorize", policy_by_key_or_ticket),
    changes(0x16b, "PolicyAuthValue"),
    changes(0x16c, "PolicyCommandCode"),
    changes(0x16d, "PolicyCounterTimer"),
    changes(0x16e, "PolicyCpHash"),
    changes(0x16f, "PolicyLocality"),
    changes(0x170, "PolicyNameHash"),
    changes(0x171, "PolicyOR"),
    deny(0x172, "PolicyTicket", policy_by_key_or_ticket),
    reads(0x173, "ReadPublic"),
    deny(0x174, "RSA_Encrypt", uses_key),
    only_if(0x176, "StartAuthSession", session_without_key, salted_or_bound_session),
    deny(0x177, "VerifySignature", uses_key, Effect::none),  // reads only; a ticket is not kept
    reads(0x178, "ECC_Parameters"),
    reads(0x17a, "GetCapability"),
    // Unlogged: a crash recovery randomises the drbg seed, so that no output repeats.
    reads(0x17b, "GetRandom"),
    reads(0x17c, "GetTestResult"),
    reads(0x17d, "Hash"),  // stateless; a ticket is not kept
    reads(0x17e, "PCR_Read"),
    changes(0x17f, "PolicyPCR"),
    changes(0x180, "PolicyRestart"),
    reads(0x181, "ReadClock"),
    changes(0x182, "PCR_Extend"),
    deny(0x183, "PCR_SetAuthValue", changes_persistent_authorization),
    deny(0x184, "NV_Certify", attests_by_key),
    changes(0x185, "EventSequenceComplete"),
    changes(0x186, "HashSequenceStart"),
    changes(0x187, "PolicyPhysicalPresence"),
    changes(0x188, "PolicyDuplicationSelect"),
    reads(0x189, "PolicyGetDigest"),  // reads a session, needs no authorization
    reads(0x18a, "TestParms"),
    deny(0x18b, "Commit", generates_key),
    changes(0x18c, "PolicyPassword"),
    deny(0x18d, "ZGen_2Phase", uses_key),
    deny(0x18e, "EC_Ephemeral", generates_key),
    changes(0x18f, "PolicyNvWritten"),
    changes(0x190, "PolicyTemplate"),
    deny(0x191, "CreateLoaded", generates_key),
    deny(0x192, "PolicyAuthorizeNV", policy_by_key_or_ticket),
    deny(0x193, "EncryptDecrypt2", uses_key),
    deny(0x197, "CertifyX509", attests_by_key),
};
// clang-format on
static_assert(std::ranges::is_sorted(kRules, std::ranges::less_equal{}, &Rule::code));
constexpr frame::CodeIndex<frame::code_span(kRules)> kIndex(kRules);

}  // namespace

std::span<const Rule> rules() { return kRules; }

const Rule* find_rule(std::uint32_t code) { return kIndex.find(kRules, code); }

}  // namespace vtpm::policy
