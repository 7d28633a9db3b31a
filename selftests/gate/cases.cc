// SPDX-License-Identifier: Apache-2.0
#include "cases.h"

#include <array>

namespace vtpm::gate_test {
namespace {

using enum Expect;

// Public areas (Part 2, 12.2.4) as TPM2B.
#define STORAGE_KEY "001a 0023 000b 00030472 0000 0006 0080 0043 0010 0003 0010 0000 0000"
#define SIGNING_KEY "0018 0023 000b 00040472 0000 0010 0018 000b 0003 0010 0000 0000"
#define SEALED_DATA "000e 0008 000b 00000052 0000 0010 0000"
#define EXTERNAL_PUBLIC                                                   \
  "0058 0023 000b 00040040 0000 0010 0018 000b 0003 0010"                 \
  "0020 6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296" \
  "0020 4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
#define NO_SECRET "0004 0000 0000"
#define HASH "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define DIGEST "0020" HASH
#define BLOCK "0010 000102030405060708090a0b0c0d0e0f"
#define NONCE BLOCK
#define POINT "0004 0000 0000"
#define LIST_OF_PCR16 "00000001 000b 03 000001"
#define EXTEND_SHA256 "00000001 000b" HASH

constexpr auto kCases = std::to_array<Case>({
    // Life cycle. The device was started by its kernel, or by the test.
    {"Startup", "", "", "0000", passes, 0x100},
    {"SelfTest", "what is left", "", "00", passes},
    {"IncrementalSelfTest", "", "", "00000001 000b", passes, 0},
    {"GetTestResult", "", "", "", passes, 0},

    // Query.
    {"GetCapability", "commands", "", "00000002 00000000 00000100", passes, 0},
    {"GetCapability", "PCR banks", "", "00000005 00000000 00000001", passes, 0, "$allocation",
     Save::allocation},
    {"GetCapability", "TPM_PT_STARTUP_CLEAR", "", "00000006 00000201 00000001", marked, 0},
    {"TestParms", "", "", "0008 0010", passes, 0},
    {"ECC_Parameters", "", "", "0003", passes, 0},
    {"ReadClock", "", "", "", passes, 0},
    {"ReadPublic", "", "81000001", "", passes, 0x18b},
    {"NV_ReadPublic", "", "01500002", "", passes, 0x18b},
    {"NV_Read", "", "OWNER 01500002", "0008 0000", passes, 0x28b},
    {"NV_Read", "lockout authorization", "LOCKOUT 01500002", "0008 0000", denied},

    // Random numbers and measurement.
    {"GetRandom", "", "", "0010", passes, 0},
    {"StirRandom", "", "", DIGEST, passes, 0},
    {"PCR_Read", "", "", LIST_OF_PCR16, passes, 0},
    {"PCR_Extend", "", "00000010", EXTEND_SHA256, passes, 0},
    {"PCR_Event", "", "00000010", DIGEST, passes, 0},
    {"PCR_Reset", "", "00000010", "", passes, 0},
    {"Hash", "", "", "0003 616263 000b 40000007", passes, 0},
    {"HashSequenceStart", "hash", "", "0000 000b", passes, 0, "$sequence", Save::handle},
    {"SequenceUpdate", "", "$sequence", BLOCK, passes, 0},
    {"SequenceComplete", "", "$sequence", "0000 40000007", passes, 0},
    {"HashSequenceStart", "event", "", "0000 0010", passes, 0, "$event", Save::handle},
    {"EventSequenceComplete", "", "00000010 $event", BLOCK, passes, 0},

    // Sessions.
    {"StartAuthSession", "HMAC", "NULL NULL", NONCE "0000 00 0010 000b", passes, 0, "$hmac",
     Save::handle},
    {"StartAuthSession", "policy", "NULL NULL", NONCE "0000 01 0010 000b", passes, 0, "$policy",
     Save::handle},
    {"StartAuthSession", "trial", "NULL NULL", NONCE "0000 03 0010 000b", passes, 0, "$trial",
     Save::handle},
    {"StartAuthSession", "salted", "81000001 NULL", NONCE "0000 00 0010 000b", denied},
    {"StartAuthSession", "bound to a key", "NULL 81000001", NONCE "0000 00 0010 000b", denied},
    {"StartAuthSession", "bound to a hierarchy", "NULL OWNER", NONCE "0000 00 0010 000b", denied},
    {"StartAuthSession", "bound to lockout", "NULL LOCKOUT", NONCE "0000 00 0010 000b", denied},

    // Policy arithmetic, on a trial session so that nothing needs to hold.
    {"PolicyPCR", "", "$trial", "0000" LIST_OF_PCR16, passes, 0},
    {"PolicyOR", "", "$trial", "00000002" DIGEST DIGEST, passes, 0},
    {"PolicyLocality", "", "$trial", "01", passes, 0},
    {"PolicyCommandCode", "", "$trial", "0000015e", passes, 0},
    {"PolicyNvWritten", "", "$trial", "01", passes, 0},
    {"PolicyCounterTimer", "", "$trial", "0008 0000000000000000 0000 0000", passes, 0},
    {"PolicyPhysicalPresence", "", "$trial", "", passes, 0},
    {"PolicyPassword", "", "$trial", "", passes, 0},
    {"PolicyAuthValue", "", "$trial", "", passes, 0},
    {"PolicyGetDigest", "", "$trial", "", passes, 0},
    {"PolicyRestart", "", "$trial", "", passes, 0},
    {"PolicyCpHash", "", "$trial", DIGEST, passes, 0},
    {"PolicyNameHash", "", "$policy", DIGEST, passes, 0},
    {"PolicyRestart", "again", "$policy", "", passes, 0},
    {"PolicyTemplate", "", "$policy", DIGEST, passes, 0},
    {"PolicyRestart", "once more", "$policy", "", passes, 0},
    {"PolicyDuplicationSelect", "", "$policy", "0000 0000 00", passes},
    {"PolicyNV", "", "OWNER 01500002 $policy", "0000 0000 0000", passes, 0x28b},
    {"PolicySecret", "owner", "OWNER $policy", "0000 0000 0000 00000000", passes},
    {"PolicySecret", "endorsement, expires", "ENDORSEMENT $policy", "0000 0000 0000 00000010",
     passes},
    {"PolicySecret", "asks for a ticket", "OWNER 03000000", "0000 0000 0000 fffffff0", denied},
    {"PolicySecret", "lockout", "LOCKOUT 03000000", "0000 0000 0000 00000000", denied},
    {"PolicySecret", "of a key", "81000001 03000000", "0000 0000 0000 00000000", denied},
    {"PolicySecret", "of an NV index", "01500002 03000000", "0000 0000 0000 00000000", denied},
    {"PolicySecret", "of a PCR", "00000010 03000000", "0000 0000 0000 00000000", denied},
    {"PolicySigned", "", "81000001 03000000", "0000 0000 0000 00000000 0005 000b" HASH, denied},
    {"PolicyAuthorize", "", "03000000", "0000 0000 0000 8022 40000007 0000", denied},
    {"PolicyTicket", "", "03000000", "0000 0000 0000 0000 8025 40000007 0000", denied},
    {"PolicyAuthorizeNV", "", "OWNER 01500002 03000000", "", denied},

    // Attestation without and with a key.
    {"GetTime", "unsigned", "ENDORSEMENT NULL", "0000 0010", passes},
    {"GetTime", "signed", "ENDORSEMENT 81000001", "0000 0010", denied},
    {"GetSessionAuditDigest", "unsigned", "ENDORSEMENT NULL $hmac", "0000 0010", passes},
    {"GetSessionAuditDigest", "signed", "ENDORSEMENT 81000001 02000000", "0000 0010", denied},
    {"Quote", "", "81000001", "0000 0010" LIST_OF_PCR16, denied},
    {"Certify", "", "81000001 81000002", "0000 0010", denied},
    {"CertifyCreation", "", "81000001 81000002", "0000 0000 0010 8021 40000007 0000", denied},
    {"CertifyX509", "", "81000001 81000002", "0000 0010 0000", denied},
    {"NV_Certify", "", "81000001 OWNER 01500002", "0000 0010 0008 0000", denied},
    {"GetCommandAuditDigest", "unsigned", "ENDORSEMENT NULL", "0000 0010", denied},

    // Contexts.
    {"ContextSave", "session", "$hmac", "", passes, 0, "$context", Save::context},
    {"ContextLoad", "own session", "", "$context", passes, 0, "$hmac", Save::handle},
    {"ContextLoad", "NULL hierarchy, garbage", "",
     "0000000000000001 80000000 40000007 0008 0000000000000000", passes},
    {"ContextLoad", "owner hierarchy", "",
     "0000000000000001 80000000 40000001 0008 0000000000000000", denied},
    {"ContextLoad", "endorsement hierarchy", "",
     "0000000000000001 80000000 4000000b 0008 0000000000000000", denied},
    {"ContextLoad", "platform hierarchy", "",
     "0000000000000001 80000000 4000000c 0008 0000000000000000", denied},

    // Any session form of a command that is denied is denied; of one that is allowed, passes.
    {"GetRandom", "HMAC session", "", "0010", passes, kAnyCode, "", Save::nothing, "$hmac"},
    {"GetRandom", "a key for a session", "", "0010", denied, kAnyCode, "", Save::nothing,
     "81000001"},
    {"Sign", "policy session", "81000001", DIGEST "0010 8024 40000007 0000", denied, kAnyCode, "",
     Save::nothing, "$policy"},
    {"Unseal", "three sessions", "81000001", "", denied, kAnyCode, "", Save::nothing,
     "$policy $hmac $trial"},

    {"FlushContext", "policy", "", "$policy", passes, 0},
    {"FlushContext", "trial", "", "$trial", passes, 0},
    {"FlushContext", "HMAC", "", "$hmac", passes, 0},

    // Hierarchies and configuration. The platform hierarchy may be closed or hold firmware's
    // authorization: the response code tells nothing about the gate.
    {"HierarchyChangeAuth", "platform", "PLATFORM", "0000", passes},
    {"HierarchyChangeAuth", "owner", "OWNER", "0001 aa", denied},
    {"HierarchyChangeAuth", "endorsement", "ENDORSEMENT", "0001 aa", denied},
    {"HierarchyChangeAuth", "lockout", "LOCKOUT", "0001 aa", denied},
    {"HierarchyControl", "", "PLATFORM", "40000001 01", passes},
    {"PCR_Allocate", "as it is", "PLATFORM", "$allocation", passes},
    {"PCR_Allocate", "another", "PLATFORM", LIST_OF_PCR16, denied},
    {"ClearControl", "", "PLATFORM", "01", denied},
    {"SetPrimaryPolicy", "", "OWNER", "0000 0010", denied},
    {"SetPrimaryPolicy", "platform", "PLATFORM", "0000 0010", denied},
    {"PCR_SetAuthPolicy", "", "PLATFORM", "0000 0010 00000014", denied},
    {"PCR_SetAuthValue", "", "00000014", "0001 aa", denied},
    {"DictionaryAttackParameters", "", "LOCKOUT", "00000020 00000001 00000001", denied},
    {"DictionaryAttackLockReset", "", "LOCKOUT", "", denied},
    {"SetCommandCodeAuditStatus", "", "OWNER", "000b 00000001 0000017b 00000000", denied},
    {"SetAlgorithmSet", "", "PLATFORM", "00000000", denied},
    {"PP_Commands", "", "PLATFORM", "00000000 00000000", denied},
    {"ClockSet", "", "OWNER", "0000100000000000", denied},
    {"ClockRateAdjust", "", "OWNER", "01", denied},
    {"Clear", "by lockout", "LOCKOUT", "", denied},
    {"Clear", "by platform", "PLATFORM", "", denied},
    {"ChangeEPS", "", "PLATFORM", "", denied},
    {"ChangePPS", "", "PLATFORM", "", denied},

    // Keys: generate.
    {"CreatePrimary", "storage key", "OWNER", NO_SECRET STORAGE_KEY "0000 00000000", denied},
    {"CreatePrimary", "signing key", "ENDORSEMENT", NO_SECRET SIGNING_KEY "0000 00000000", denied},
    {"CreatePrimary", "platform key", "PLATFORM", NO_SECRET STORAGE_KEY "0000 00000000", denied},
    {"CreatePrimary", "NULL signing key", "NULL", NO_SECRET SIGNING_KEY "0000 00000000", denied},
    {"CreatePrimary", "NULL key of Linux", "NULL", NO_SECRET STORAGE_KEY "0000 00000000", denied,
     kAnyCode, "", Save::nothing, "", Only::without_linux_hmac},
    {"Create", "", "81000001", NO_SECRET SIGNING_KEY "0000 00000000", denied},
    {"Create", "sealed", "81000001", "0005 0000 0001 aa" SEALED_DATA "0000 00000000", denied},
    {"CreateLoaded", "", "OWNER", NO_SECRET STORAGE_KEY, denied},
    {"EC_Ephemeral", "", "", "0003", denied},
    {"ECDH_KeyGen", "", "81000001", "", denied},
    {"Commit", "", "81000001", "0000 0000 0000", denied},

    // Keys: load and store.
    {"Load", "", "81000001", "0000" SIGNING_KEY, denied},
    {"LoadExternal", "public", "", "0000" EXTERNAL_PUBLIC "40000007", denied},
    {"LoadExternal", "with its secret", "",
     "0028 0023 0000 0000 0020 "
     "0000000000000000000000000000000000000000000000000000000000000001" EXTERNAL_PUBLIC "40000007",
     denied},
    {"Import", "", "81000001", "0000" SIGNING_KEY "0000 0000 0010", denied},
    {"EvictControl", "", "OWNER 81000001", "81000001", denied},
    {"Duplicate", "", "81000001 NULL", "0000 0010", denied},
    {"Rewrap", "", "81000001 81000002", "0000 0000 0000", denied},
    {"ObjectChangeAuth", "", "81000001 81000002", "0000", denied},
    {"ActivateCredential", "", "81000001 81000002", "0000 0000", denied},
    {"MakeCredential", "", "81000001", "0000 0000", denied},

    // Keys: use.
    {"Sign", "", "81000001", DIGEST "0010 8024 40000007 0000", denied},
    {"VerifySignature", "", "81000001", DIGEST "0005 000b" HASH, denied},
    {"RSA_Encrypt", "", "81000001", "0001 aa 0010 0000", denied},
    {"RSA_Decrypt", "", "81000001", "0001 aa 0010 0000", denied},
    {"ECDH_ZGen", "", "81000001", POINT, denied},
    {"ZGen_2Phase", "", "81000001", POINT POINT "0019 0000", denied},
    {"EncryptDecrypt", "", "81000001", "00 0043" BLOCK BLOCK, denied},
    {"EncryptDecrypt2", "", "81000001", BLOCK "00 0043" BLOCK, denied},
    {"HMAC", "", "81000001", BLOCK "000b", denied},
    {"HMAC_Start", "", "81000001", "0000 000b", denied},
    {"Unseal", "", "81000001", "", denied},

    // NV memory.
    {"NV_DefineSpace", "", "OWNER", "0000 000e 01500002 000b 00020002 0000 0008", denied},
    {"NV_UndefineSpace", "", "OWNER 01500002", "", denied},
    {"NV_UndefineSpaceSpecial", "", "01500002 PLATFORM", "", denied},
    {"NV_Write", "", "OWNER 01500002", "0001 aa 0000", denied},
    {"NV_Increment", "", "OWNER 01500002", "", denied},
    {"NV_Extend", "", "OWNER 01500002", "0001 aa", denied},
    {"NV_SetBits", "", "OWNER 01500002", "0000000000000001", denied},
    {"NV_WriteLock", "", "OWNER 01500002", "", denied},
    {"NV_ReadLock", "", "OWNER 01500002", "", denied},
    {"NV_GlobalWriteLock", "", "OWNER", "", denied},
    {"NV_ChangeAuth", "", "01500002", "0000", denied},

    // compat=linux-hmac: the null primary of Linux, wherever it is loaded, and nothing else.
    {"CreatePrimary", "NULL key of Linux, let through", "NULL",
     NO_SECRET STORAGE_KEY "0000 00000000", passes, 0, "$primary", Save::handle, "",
     Only::with_linux_hmac},
    {"ContextSave", "NULL key of Linux", "$primary", "", passes, 0, "$primary_context",
     Save::context, "", Only::with_linux_hmac},
    {"StartAuthSession", "salted to it, wrong salt", "$primary NULL",
     NONCE "0001 aa 00 0006 0080 0043 000b", passes, kAnyCode, "", Save::nothing, "",
     Only::with_linux_hmac},
    {"FlushContext", "NULL key of Linux", "", "$primary", passes, 0, "", Save::nothing, "",
     Only::with_linux_hmac},
    {"StartAuthSession", "salted to what was flushed", "$primary NULL",
     NONCE "0001 aa 00 0006 0080 0043 000b", denied, kAnyCode, "", Save::nothing, "",
     Only::with_linux_hmac},
    {"ContextLoad", "NULL key of Linux", "", "$primary_context", passes, 0, "$primary",
     Save::handle, "", Only::with_linux_hmac},
    {"StartAuthSession", "salted to it again", "$primary NULL",
     NONCE "0001 aa 00 0006 0080 0043 000b", passes, kAnyCode, "", Save::nothing, "",
     Only::with_linux_hmac},
    {"RSA_Encrypt", "NULL key of Linux", "$primary", "0001 aa 0010 0000", denied, kAnyCode, "",
     Save::nothing, "", Only::with_linux_hmac},
    {"FlushContext", "NULL key of Linux again", "", "$primary", passes, 0, "", Save::nothing, "",
     Only::with_linux_hmac},

    // Headers.
    {"", "unknown command code", "", "8001 0000000a 00000fff", passes, 0x143},
    {"", "vendor command code", "", "8001 0000000a 20000001", passes, 0x143},
    {"", "a tag that is no command's", "", "8000 0000000a 0000017c", passes, 0x01e},
    {"", "TPM 1.2 tag", "", "00c1 00000016 00000065 00000005 00000004 00000103", passes, 0x084},

    {"Shutdown", "", "", "0000", passes, 0},
});

}  // namespace

std::span<const Case> cases() { return kCases; }

}  // namespace vtpm::gate_test
