// SPDX-License-Identifier: Apache-2.0
// Endorsement keys as a TPM describes them. Pure; any thread.
//
// The bytes come from a worker, which a client may have taken over, and what is made of them gets a
// signature of this host: a key that is not exactly what one of the TCG's templates gives is
// refused. Sources: TCG EK Credential Profile for TPM Family 2.0, 2.5, annex B (templates L-1, L-2,
// H-1 to H-4, H-6, H-7); TPM 2.0 Library Part 2, 12.2.4 (TPMT_PUBLIC).
#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "identity/openssl.h"

namespace vtpm::identity {

// The public key in a TPMT_PUBLIC of a restricted decryption key that its TPM made and cannot give
// away: RSA of 2048, 3072 or 4096 bits, or a point of P-256, P-384 or P-521. INVALID_ARGUMENT says
// which field is not as in the templates.
Result<Key> read_endorsement_key(ByteView tpmt_public);

// A point of a curve, by OpenSSL's name for it. INVALID_ARGUMENT: it is none of its points.
Result<Key> read_point(const char* curve, ByteView x, ByteView y);

}  // namespace vtpm::identity
