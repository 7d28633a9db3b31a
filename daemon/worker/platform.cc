// SPDX-License-Identifier: Apache-2.0
#include "worker/platform.h"

#include "base/uuid.h"
#include "frame/frame.h"
#include "worker/own_command.h"

namespace vtpm::worker {

Result<void> close_platform_hierarchy(engine::Engine& engine) {
  SecretBytes password(32);
  VTPM_CHECK(fill_random(password));
  SecretBytes new_auth;
  SecretWriter(new_auth).sized16(password);
  VTPM_CHECK(run_own(engine, {frame::kCcHierarchyChangeAuth, {frame::kRhPlatform}, 1}, new_auth));
  Bytes disable;
  Writer(disable).u32(frame::kRhPlatform).u8(0);
  VTPM_CHECK(
      run_own(engine, {frame::kCcHierarchyControl, {frame::kRhPlatform}, 1, password}, disable));
  return {};
}

}  // namespace vtpm::worker
