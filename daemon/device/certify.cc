// SPDX-License-Identifier: Apache-2.0
#include "device/certify.h"

namespace vtpm::device {

Result<std::vector<Bytes>> certify_keys(const identity::Authority& authority, const Uuid& device,
                                        const privsep::MadeKeys& made) {
  const identity::EkSubject subject{.device = device,
                                    .manufacturer = made.manufacturer,
                                    .model = made.model,
                                    .firmware_version = made.firmware_version,
                                    .spec_level = made.spec_level,
                                    .spec_revision = made.spec_revision};
  std::vector<Bytes> certificates;
  for (const Bytes& key : made.keys) {
    VTPM_TRY(certificates.emplace_back(), authority.certify_endorsement_key(key, subject));
  }
  return certificates;
}

}  // namespace vtpm::device
