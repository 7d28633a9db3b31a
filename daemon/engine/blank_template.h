// SPDX-License-Identifier: Apache-2.0
// The permanent blob of a device without identity, in the format of the libtpms in use. Public, the
// same on every host. Internal to engine/.
#pragma once

#include "base/bytes.h"
#include "base/result.h"

namespace vtpm::engine {

// Made once a process, by a child that manufactures a TPM, blanks its seeds and is gone: this
// process never holds the manufactured secrets, nor do its later children. The view lives as long
// as the process. The first call forks; the fork server makes it before it forks workers.
Result<ByteView> blank_template();

}  // namespace vtpm::engine
