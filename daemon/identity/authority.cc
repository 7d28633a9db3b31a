// SPDX-License-Identifier: Apache-2.0
#include "identity/authority.h"

#include <utility>

namespace vtpm::identity {

Result<Authority> Authority::create() {
  VTPM_TRY(Issuer root, Issuer::create("vTPM host root", nullptr));
  return Authority(std::move(root));
}

Result<Authority> Authority::load(ByteView private_key, ByteView certificate) {
  VTPM_TRY(Issuer root, Issuer::load(private_key, certificate));
  if (!root.signed_by(root))
    return fail(ErrorCode::corrupt, "the certificate authority is damaged: its root is none");
  return Authority(std::move(root));
}

Result<Family> Authority::found_family() const {
  VTPM_TRY(Issuer issuer, Issuer::create("vTPM family", &root_));
  families_++;
  return Family(std::move(issuer));
}

}  // namespace vtpm::identity
