// SPDX-License-Identifier: Apache-2.0
// Anchor: a number outside of the store that only grows: an NV counter in a TPM of the host. It
// tells the store that vtpmd left from an older copy of it.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace vtpm::device {

class Anchor {
 public:
  // "tpm:TCTI", as in key_source.h.
  static Result<Anchor> make(const std::string& spec);

  Result<std::uint64_t> value() const;  // NOT_FOUND: it was never made, or somebody removed it
  Result<std::uint64_t> make_counter() const;
  Result<std::uint64_t> advance() const;

 private:
  explicit Anchor(std::string tcti) : tcti_(std::move(tcti)) {}
  std::string tcti_;
};

}  // namespace vtpm::device
