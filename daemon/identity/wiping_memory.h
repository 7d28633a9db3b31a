// SPDX-License-Identifier: Apache-2.0
// OpenSSL frees most of what a private key passed through as it is: encoders leave whole copies of
// it in the heap (tested). Here everything that OpenSSL frees is wiped.
#pragma once

namespace vtpm::identity {

// Before the process uses OpenSSL for anything; false: too late.
bool wipe_what_openssl_frees();

}  // namespace vtpm::identity
