// SPDX-License-Identifier: Apache-2.0
// What TPM2_NV_Certify says of an index, taken apart and checked. Bytes of anybody. Pure.
// Source: TPM 2.0 Library Part 2, 10.12.12 (TPMS_ATTEST), 10.12.8 (TPMS_NV_CERTIFY_INFO) and 11.3.4
// (TPMT_SIGNATURE).
#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "identity/openssl.h"
#include "identity/verify.h"

namespace vtpm::identity {

// The TPM that holds `key`, of P-256, certifies over `nonce` that the index with this Name holds
// `value`, all of it. INVALID_ARGUMENT says what is not so.
Result<void> check_certified(const CertifiedIndex& certified, const EVP_PKEY* key, ByteView nonce,
                             ByteView name, ByteView value);

}  // namespace vtpm::identity
