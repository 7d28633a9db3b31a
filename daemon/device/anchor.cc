// SPDX-License-Identifier: Apache-2.0
#include "device/anchor.h"

#include "identity/host_tpm.h"

namespace vtpm::device {
namespace {

// In the range that the TCG leaves to the owner.
constexpr std::uint32_t kIndex = 0x01817674;

}  // namespace

Result<Anchor> Anchor::make(const std::string& spec) {
  constexpr std::string_view kPrefix = "tpm:";
  if (!spec.starts_with(kPrefix) || spec.size() == kPrefix.size())
    return fail(ErrorCode::invalid_argument, "anchor: '" + spec + "' names no TPM",
                "use tpm:TCTI, as in tpm:device:/dev/tpmrm0");
  return Anchor(spec.substr(kPrefix.size()));
}

Result<std::uint64_t> Anchor::value() const {
  VTPM_TRY(auto tpm, identity::HostTpm::connect(tcti_));
  return tpm.counter(kIndex);
}

Result<std::uint64_t> Anchor::make_counter() const {
  VTPM_TRY(auto tpm, identity::HostTpm::connect(tcti_));
  return tpm.make_counter(kIndex);
}

Result<std::uint64_t> Anchor::advance() const {
  VTPM_TRY(auto tpm, identity::HostTpm::connect(tcti_));
  return tpm.advance(kIndex);
}

}  // namespace vtpm::device
