// SPDX-License-Identifier: Apache-2.0
#include "identity/derived_seed.h"

#include <openssl/hmac.h>

#include "identity/openssl.h"

namespace vtpm::identity {

Result<SecretBytes> derive_endorsement_seed(ByteView fresh, const Digest& lineage,
                                            std::uint64_t generation, const Uuid& child) {
  if (fresh.size() != kSeedSize)
    return fail(ErrorCode::invalid_argument, "a seed is derived from 64 random bytes");
  constexpr std::string_view kLabel("VTPM EPS\0", 9);  // with the zero that ends it
  constexpr std::uint32_t kBits = 8 * kSeedSize;       // one block of HMAC-SHA-512
  Bytes block;
  Writer(block)
      .u32(1)  // counter
      .bytes(as_bytes(kLabel))
      .bytes(lineage)
      .u64(generation)
      .bytes(child.bytes)
      .u32(kBits);
  SecretBytes seed(kSeedSize);
  unsigned size = 0;
  if (HMAC(EVP_sha512(), fresh.data(), static_cast<int>(fresh.size()), raw(block), block.size(),
           reinterpret_cast<unsigned char*>(seed.data()), &size) == nullptr ||
      size != seed.size())
    return fail_openssl("derive a seed");
  return seed;
}

}  // namespace vtpm::identity
