// SPDX-License-Identifier: Apache-2.0
#include "frame/commands.h"

#include <algorithm>
#include <array>

#include "frame/code_index.h"

namespace vtpm::frame {
namespace {

// code, name, handles, authorized handles, handles in the reply
constexpr std::array kCommands = {
    CommandInfo{0x11f, "NV_UndefineSpaceSpecial", 2, 2, 0},
    CommandInfo{0x120, "EvictControl", 2, 1, 0},
    CommandInfo{0x121, "HierarchyControl", 1, 1, 0},
    CommandInfo{0x122, "NV_UndefineSpace", 2, 1, 0},
    CommandInfo{0x124, "ChangeEPS", 1, 1, 0},
    CommandInfo{0x125, "ChangePPS", 1, 1, 0},
    CommandInfo{0x126, "Clear", 1, 1, 0},
    CommandInfo{0x127, "ClearControl", 1, 1, 0},
    CommandInfo{0x128, "ClockSet", 1, 1, 0},
    CommandInfo{0x129, "HierarchyChangeAuth", 1, 1, 0},
    CommandInfo{0x12a, "NV_DefineSpace", 1, 1, 0},
    CommandInfo{0x12b, "PCR_Allocate", 1, 1, 0},
    CommandInfo{0x12c, "PCR_SetAuthPolicy", 1, 1, 0},
    CommandInfo{0x12d, "PP_Commands", 1, 1, 0},
    CommandInfo{0x12e, "SetPrimaryPolicy", 1, 1, 0},
    CommandInfo{0x130, "ClockRateAdjust", 1, 1, 0},
    CommandInfo{0x131, "CreatePrimary", 1, 1, 1},
    CommandInfo{0x132, "NV_GlobalWriteLock", 1, 1, 0},
    CommandInfo{0x133, "GetCommandAuditDigest", 2, 2, 0},
    CommandInfo{0x134, "NV_Increment", 2, 1, 0},
    CommandInfo{0x135, "NV_SetBits", 2, 1, 0},
    CommandInfo{0x136, "NV_Extend", 2, 1, 0},
    CommandInfo{0x137, "NV_Write", 2, 1, 0},
    CommandInfo{0x138, "NV_WriteLock", 2, 1, 0},
    CommandInfo{0x139, "DictionaryAttackLockReset", 1, 1, 0},
    CommandInfo{0x13a, "DictionaryAttackParameters", 1, 1, 0},
    CommandInfo{0x13b, "NV_ChangeAuth", 1, 1, 0},
    CommandInfo{0x13c, "PCR_Event", 1, 1, 0},
    CommandInfo{0x13d, "PCR_Reset", 1, 1, 0},
    CommandInfo{0x13e, "SequenceComplete", 1, 1, 0},
    CommandInfo{0x13f, "SetAlgorithmSet", 1, 1, 0},
    CommandInfo{0x140, "SetCommandCodeAuditStatus", 1, 1, 0},
    CommandInfo{0x142, "IncrementalSelfTest", 0, 0, 0},
    CommandInfo{0x143, "SelfTest", 0, 0, 0},
    CommandInfo{0x144, "Startup", 0, 0, 0},
    CommandInfo{0x145, "Shutdown", 0, 0, 0},
    CommandInfo{0x146, "StirRandom", 0, 0, 0},
    CommandInfo{0x147, "ActivateCredential", 2, 2, 0},
    CommandInfo{0x148, "Certify", 2, 2, 0},
    CommandInfo{0x149, "PolicyNV", 3, 1, 0},
    CommandInfo{0x14a, "CertifyCreation", 2, 1, 0},
    CommandInfo{0x14b, "Duplicate", 2, 1, 0},
    CommandInfo{0x14c, "GetTime", 2, 2, 0},
    CommandInfo{0x14d, "GetSessionAuditDigest", 3, 2, 0},
    CommandInfo{0x14e, "NV_Read", 2, 1, 0},
    CommandInfo{0x14f, "NV_ReadLock", 2, 1, 0},
    CommandInfo{0x150, "ObjectChangeAuth", 2, 1, 0},
    CommandInfo{0x151, "PolicySecret", 2, 1, 0},
    CommandInfo{0x152, "Rewrap", 2, 1, 0},
    CommandInfo{0x153, "Create", 1, 1, 0},
    CommandInfo{0x154, "ECDH_ZGen", 1, 1, 0},
    CommandInfo{0x155, "HMAC", 1, 1, 0},
    CommandInfo{0x156, "Import", 1, 1, 0},
    CommandInfo{0x157, "Load", 1, 1, 1},
    CommandInfo{0x158, "Quote", 1, 1, 0},
    CommandInfo{0x159, "RSA_Decrypt", 1, 1, 0},
    CommandInfo{0x15b, "HMAC_Start", 1, 1, 1},
    CommandInfo{0x15c, "SequenceUpdate", 1, 1, 0},
    CommandInfo{0x15d, "Sign", 1, 1, 0},
    CommandInfo{0x15e, "Unseal", 1, 1, 0},
    CommandInfo{0x160, "PolicySigned", 2, 0, 0},
    CommandInfo{0x161, "ContextLoad", 0, 0, 1},
    CommandInfo{0x162, "ContextSave", 1, 0, 0},
    CommandInfo{0x163, "ECDH_KeyGen", 1, 0, 0},
    CommandInfo{0x164, "EncryptDecrypt", 1, 1, 0},
    CommandInfo{0x165, "FlushContext", 0, 0, 0},
    CommandInfo{0x167, "LoadExternal", 0, 0, 1},
    CommandInfo{0x168, "MakeCredential", 1, 0, 0},
    CommandInfo{0x169, "NV_ReadPublic", 1, 0, 0},
    CommandInfo{0x16a, "PolicyAuthorize", 1, 0, 0},
    CommandInfo{0x16b, "PolicyAuthValue", 1, 0, 0},
    CommandInfo{0x16c, "PolicyCommandCode", 1, 0, 0},
    CommandInfo{0x16d, "PolicyCounterTimer", 1, 0, 0},
    CommandInfo{0x16e, "PolicyCpHash", 1, 0, 0},
    CommandInfo{0x16f, "PolicyLocality", 1, 0, 0},
    CommandInfo{0x170, "PolicyNameHash", 1, 0, 0},
    CommandInfo{0x171, "PolicyOR", 1, 0, 0},
    CommandInfo{0x172, "PolicyTicket", 1, 0, 0},
    CommandInfo{0x173, "ReadPublic", 1, 0, 0},
    CommandInfo{0x174, "RSA_Encrypt", 1, 0, 0},
    CommandInfo{0x176, "StartAuthSession", 2, 0, 1},
    CommandInfo{0x177, "VerifySignature", 1, 0, 0},
    CommandInfo{0x178, "ECC_Parameters", 0, 0, 0},
    CommandInfo{0x17a, "GetCapability", 0, 0, 0},
    CommandInfo{0x17b, "GetRandom", 0, 0, 0},
    CommandInfo{0x17c, "GetTestResult", 0, 0, 0},
    CommandInfo{0x17d, "Hash", 0, 0, 0},
    CommandInfo{0x17e, "PCR_Read", 0, 0, 0},
    CommandInfo{0x17f, "PolicyPCR", 1, 0, 0},
    CommandInfo{0x180, "PolicyRestart", 1, 0, 0},
    CommandInfo{0x181, "ReadClock", 0, 0, 0},
    CommandInfo{0x182, "PCR_Extend", 1, 1, 0},
    CommandInfo{0x183, "PCR_SetAuthValue", 1, 1, 0},
    CommandInfo{0x184, "NV_Certify", 3, 2, 0},
    CommandInfo{0x185, "EventSequenceComplete", 2, 2, 0},
    CommandInfo{0x186, "HashSequenceStart", 0, 0, 1},
    CommandInfo{0x187, "PolicyPhysicalPresence", 1, 0, 0},
    CommandInfo{0x188, "PolicyDuplicationSelect", 1, 0, 0},
    CommandInfo{0x189, "PolicyGetDigest", 1, 0, 0},
    CommandInfo{0x18a, "TestParms", 0, 0, 0},
    CommandInfo{0x18b, "Commit", 1, 1, 0},
    CommandInfo{0x18c, "PolicyPassword", 1, 0, 0},
    CommandInfo{0x18d, "ZGen_2Phase", 1, 1, 0},
    CommandInfo{0x18e, "EC_Ephemeral", 0, 0, 0},
    CommandInfo{0x18f, "PolicyNvWritten", 1, 0, 0},
    CommandInfo{0x190, "PolicyTemplate", 1, 0, 0},
    CommandInfo{0x191, "CreateLoaded", 1, 1, 1},
    CommandInfo{0x192, "PolicyAuthorizeNV", 3, 1, 0},
    CommandInfo{0x193, "EncryptDecrypt2", 1, 1, 0},
    CommandInfo{0x197, "CertifyX509", 2, 2, 0},
};
static_assert(std::ranges::is_sorted(kCommands, std::ranges::less_equal{}, &CommandInfo::code));
constexpr CodeIndex<code_span(kCommands)> kIndex(kCommands);

}  // namespace

std::span<const CommandInfo> command_table() { return kCommands; }

const CommandInfo* find_command(std::uint32_t code) { return kIndex.find(kCommands, code); }

const CommandInfo* find_command(std::string_view name) {
  const auto* it = std::ranges::find(kCommands, name, &CommandInfo::name);
  return it != kCommands.end() ? it : nullptr;
}

}  // namespace vtpm::frame
