// SPDX-License-Identifier: Apache-2.0
#include "worker/key_templates.h"

#include <optional>

#include "frame/frame.h"
#include "frame/lineage.h"

namespace vtpm::worker {
namespace {

using frame::kAlgAes, frame::kAlgCfb, frame::kAlgEcc, frame::kAlgNull, frame::kAlgRsa,
    frame::kAlgSha256, frame::kAlgSha384;
constexpr std::uint16_t kP256 = 0x0003, kP384 = 0x0004;

// TPMA_OBJECT: fixedTPM, fixedParent, sensitiveDataOrigin, restricted, decrypt; and the roles'.
constexpr std::uint32_t kStorageKey = 0x00030032;
constexpr std::uint32_t kUserWithAuth = 0x40, kAdminWithPolicy = 0x80, kNoDa = 0x400;

// PolicyA: TPM2_PolicySecret(TPM_RH_ENDORSEMENT).
constexpr std::string_view kPolicyA256 =
    "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa";
// PolicyB: TPM2_PolicyOR of PolicyA and of a policy in NV that the owner may write (PolicyC).
constexpr std::string_view kPolicyB256 =
    "ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0";
constexpr std::string_view kPolicyB384 =
    "b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419ca"
    "cb47ba09699646150f9fc000f3f80e12";

// The range of certificate indices that a template belongs to: the high one has an authorization
// beside its policy, and no unique field.
enum class Range : std::uint8_t { low, high };

struct Shape {
  std::uint16_t type = kAlgEcc;
  std::uint16_t size = kP256;  // curve, or bits
  std::uint16_t name_alg = kAlgSha256;
  std::uint16_t aes_bits = 128;
  std::uint32_t attributes = 0;
  std::string_view policy{};
  bool filled = true;  // the unique field has its full length, of zeros
};

Bytes public_area(const Shape& s) {
  Bytes area;
  Writer w(area);
  w.u16(s.type).u16(s.name_alg).u32(s.attributes);
  w.sized16(from_hex(s.policy).value_or(Bytes{}));
  w.u16(kAlgAes).u16(s.aes_bits).u16(kAlgCfb).u16(kAlgNull);  // symmetric, scheme
  w.u16(s.size);
  if (s.type == kAlgRsa) {
    w.u32(0);  // exponent: 65537
    w.sized16(Bytes(s.filled ? s.size / 8 : 0));
    return area;
  }
  const std::size_t coordinate = s.filled ? (s.size == kP384 ? 48 : 32) : 0;
  w.u16(kAlgNull);  // kdf
  w.sized16(Bytes(coordinate)).sized16(Bytes(coordinate));
  return area;
}

KeyTemplate endorsement_key(std::uint16_t type, std::uint16_t size, Range range,
                            std::uint32_t certificate_index, std::uint32_t persistent = 0) {
  Shape s;
  s.type = type;
  s.size = size;
  s.attributes = kStorageKey | kAdminWithPolicy;
  s.policy = kPolicyA256;
  if (range == Range::high) {
    const bool p384 = type == kAlgEcc && size == kP384;
    s.name_alg = p384 ? kAlgSha384 : kAlgSha256;
    s.aes_bits = p384 ? 256 : 128;
    s.attributes |= kUserWithAuth;
    s.policy = p384 ? kPolicyB384 : kPolicyB256;
    s.filled = false;
  }
  return {frame::kRhEndorsement, persistent, certificate_index, public_area(s)};
}

KeyTemplate storage_root_key() {
  constexpr std::uint32_t kHandle = 0x81000001;
  Shape s;
  s.attributes = kStorageKey | kUserWithAuth | kNoDa;
  return {frame::kRhOwner, kHandle, 0, public_area(s)};
}

KeyTemplate attestation_key(ByteView policy) {
  Bytes area = frame::attestation_key_head(policy);
  Writer(area).u16(0).u16(0);  // x and y, of no length: the TPM makes them
  return {frame::kRhEndorsement, frame::kAttestationKey, frame::kAttestationCertificate,
          std::move(area)};
}

}  // namespace

std::vector<KeyTemplate> key_templates(privsep::IdentityProfile profile, ByteView policy) {
  using privsep::IdentityProfile;
  constexpr std::uint16_t kRsa2048 = 2048;
  std::vector<KeyTemplate> keys;
  if (has_rsa_key(profile))
    keys.push_back(endorsement_key(kAlgRsa, kRsa2048, Range::low, 0x01c00002, 0x81010001));
  keys.push_back(endorsement_key(kAlgEcc, kP256, Range::low, 0x01c0000a, 0x81010002));
  if (profile == IdentityProfile::full) {
    keys.push_back(endorsement_key(kAlgRsa, kRsa2048, Range::high, 0x01c00012));
    keys.push_back(endorsement_key(kAlgEcc, kP256, Range::high, 0x01c00014));
  }
  keys.push_back(endorsement_key(kAlgEcc, kP384, Range::high, 0x01c00016));
  keys.push_back(attestation_key(policy));
  keys.push_back(storage_root_key());
  return keys;
}

}  // namespace vtpm::worker
