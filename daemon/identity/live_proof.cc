// SPDX-License-Identifier: Apache-2.0
#include "identity/live_proof.h"

#include <openssl/ecdsa.h>

#include <algorithm>

#include "frame/frame.h"

namespace vtpm::identity {
namespace {

constexpr std::uint32_t kGeneratedByTpm = 0xff544347;  // TPM_GENERATED_VALUE
constexpr std::uint16_t kAttestNv = 0x8014;            // TPM_ST_ATTEST_NV
constexpr std::size_t kClockAndFirmware = 17 + 8;      // TPMS_CLOCK_INFO, firmwareVersion
constexpr std::size_t kLongestNumber = 32;             // of a signature of P-256

tl::unexpected<Error> refuse(const char* why) { return fail(ErrorCode::invalid_argument, why); }

// DER of the ECDSA signature in a TPMT_SIGNATURE; empty: it is none with SHA-256.
Bytes ecdsa_of(ByteView tpmt_signature) {
  Reader in(tpmt_signature);
  const bool ecdsa = in.u16() == frame::kAlgEcdsa && in.u16() == frame::kAlgSha256;
  const ByteView r = in.sized16(), s = in.sized16();
  if (!ecdsa || !in.done() || r.size() > kLongestNumber || s.size() > kLongestNumber) return {};
  const OwnedBy<ECDSA_SIG, ECDSA_SIG_free> signature(ECDSA_SIG_new());
  Number first(BN_bin2bn(raw(r), static_cast<int>(r.size()), nullptr));
  Number second(BN_bin2bn(raw(s), static_cast<int>(s.size()), nullptr));
  // It takes both, and refuses nothing but what is not there.
  if (!signature || !first || !second ||
      ECDSA_SIG_set0(signature.get(), first.release(), second.release()) != 1)
    return {};
  return to_der<Bytes>(signature.get(), i2d_ECDSA_SIG);
}

}  // namespace

Result<void> check_certified(const CertifiedIndex& certified, const EVP_PKEY* key, ByteView nonce,
                             ByteView name, ByteView value) {
  Reader in(certified.attest);
  const bool generated = in.u32() == kGeneratedByTpm && in.u16() == kAttestNv;
  in.sized16();  // qualifiedSigner
  const ByteView asked = in.sized16();
  in.bytes(kClockAndFirmware);
  const ByteView index = in.sized16();
  const std::uint16_t offset = in.u16();
  const ByteView content = in.sized16();
  if (!generated || !in.done()) return refuse("this is no attestation of an NV index");
  if (!signed_by(key, EVP_sha256(), certified.attest, ecdsa_of(certified.signature)))
    return refuse("the attestation is not signed by the key in the certificate");
  if (!equal_constant_time(asked, nonce)) return refuse("it answers another nonce");
  if (!std::ranges::equal(index, name)) return refuse("it is of another index");
  if (offset != 0 || !std::ranges::equal(content, value))
    return refuse("the TPM holds another value than the certificate says");
  return {};
}

}  // namespace vtpm::identity
