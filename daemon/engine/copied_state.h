// SPDX-License-Identifier: Apache-2.0
// The state of a TPM that is to become another TPM's (a clone): what no command of the TPM does to
// it. Which order the steps come in, worker/rebase.h says.
//
// Blobs come from the store and are untrusted. Source: state_blob.h.
#pragma once

#include "base/bytes.h"
#include "base/result.h"

namespace vtpm::engine {

// A copy in which the owner has the empty authorization, so that keys can be kept at the owner's
// handles without knowing it; and the authorization, for close_copy().
struct OpenedCopy {
  SecretBytes permanent;
  SecretBytes owner_auth;
};
Result<OpenedCopy> open_copy(ByteView permanent);

// After TPM2_ChangeEPS, which has replaced the proof and has made the old seed's keys useless.
Result<void> set_endorsement_seed(MutableByteView permanent, ByteView seed);

// Random seed and proof for the storage hierarchy. Persistent keys of it are gone already.
Result<void> renew_storage(MutableByteView permanent);

// Wrong guesses at authorizations count as much as they did in the TPM whose place this one takes:
// the larger number of failures is kept, and a lockout authorization that is barred. Of that TPM
// the beginning of its permanent state is enough.
Result<void> keep_guesses(MutableByteView permanent, ByteView predecessor);

// The owner's authorization as it was, a random state of the generator, and a clock that says that
// it may have been set back.
Result<SecretBytes> close_copy(ByteView permanent, ByteView owner_auth);

// What of a running TPM goes along with a copy of its permanent state: the PCRs, and whether
// everybody has the platform hierarchy. Nothing secret, and no session or loaded key. Empty: it
// waits for TPM2_Startup.
Result<SecretBytes> take_running_part(ByteView volatile_state);

// The volatile state of a TPM that was just started, with that part of another one. A platform
// hierarchy that its firmware had closed, in whatever way, is disabled.
Result<SecretBytes> put_running_part(ByteView volatile_state, ByteView part);

}  // namespace vtpm::engine
