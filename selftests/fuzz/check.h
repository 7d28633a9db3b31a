// SPDX-License-Identifier: Apache-2.0
// What harnesses share.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/bytes.h"

// What a harness says of its subject: if it does not hold that is a finding, as a crash is.

#define FUZZ_CHECK(condition)                                                             \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                       \
    }                                                                                     \
  } while (false)

namespace vtpm::fuzz {

// So many bytes, or what there is: every input means something.
inline ByteView take(Reader& in, std::size_t wanted) {
  return in.bytes(std::min(wanted, in.rest().size()));
}

}  // namespace vtpm::fuzz
