// SPDX-License-Identifier: Apache-2.0
// Owners for what ESYS hands out, and its errors in words.
#pragma once

#include <tss2/tss2_esys.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

#include <memory>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/result.h"

namespace vtpm::identity {

inline tl::unexpected<Error> fail_tss(TSS2_RC rc, const std::string& what) {
  return fail(ErrorCode::unavailable, what + ": " + Tss2_RC_Decode(rc),
              "see that the TPM of the host works and that its owner hierarchy has no password");
}

// Wiped, as it may have carried a secret.
struct FreeEsys {
  template <class T>
  void operator()(T* p) const {
    wipe(std::as_writable_bytes(std::span<T>(p, 1)));
    Esys_Free(p);
  }
};
template <class T>
using Owned = std::unique_ptr<T, FreeEsys>;

// A loaded object or session: flushed at the end.
class Loaded {
 public:
  Loaded() = default;
  Loaded(ESYS_CONTEXT* esys, ESYS_TR handle) : esys_(esys), handle_(handle) {}
  Loaded(Loaded&& other) noexcept
      : esys_(other.esys_), handle_(std::exchange(other.handle_, ESYS_TR_NONE)) {}
  Loaded& operator=(Loaded&& other) noexcept {
    std::swap(esys_, other.esys_);
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Loaded() {
    if (handle_ != ESYS_TR_NONE) (void)Esys_FlushContext(esys_, handle_);
  }
  [[nodiscard]] ESYS_TR handle() const { return handle_; }

 private:
  ESYS_CONTEXT* esys_ = nullptr;
  ESYS_TR handle_ = ESYS_TR_NONE;
};

}  // namespace vtpm::identity
