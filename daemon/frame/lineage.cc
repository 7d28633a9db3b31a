// SPDX-License-Identifier: Apache-2.0
#include "frame/lineage.h"

#include "frame/frame.h"

namespace vtpm::frame {

Bytes lineage_index_area(std::uint32_t index, std::uint32_t attributes, std::size_t size) {
  Bytes area;
  Writer(area)
      .u32(index)
      .u16(kAlgSha256)
      .u32(attributes)
      .sized16(from_hex(kLineageReadPolicy).value_or(Bytes{}))
      .u16(static_cast<std::uint16_t>(size));
  return area;
}

Bytes attestation_key_head(ByteView policy) {
  // fixedTPM, fixedParent, sensitiveDataOrigin, noDA, restricted, sign. Its use is by policy alone;
  // what needs the ADMIN role (TPM2_ActivateCredential) has the empty authorization.
  constexpr std::uint32_t kAttributes = 0x00050432;
  constexpr std::uint16_t kP256 = 0x0003;
  Bytes area;
  Writer(area)
      .u16(kAlgEcc)
      .u16(kAlgSha256)
      .u32(kAttributes)
      .sized16(policy)
      .u16(kAlgNull)  // symmetric
      .u16(kAlgEcdsa)
      .u16(kAlgSha256)
      .u16(kP256)
      .u16(kAlgNull);  // kdf
  return area;
}

}  // namespace vtpm::frame
