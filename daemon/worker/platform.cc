// SPDX-License-Identifier: Apache-2.0
#include "worker/platform.h"

#include <fmt/format.h>

#include <array>

#include "base/uuid.h"
#include "frame/frame.h"

namespace vtpm::worker {
namespace {

constexpr std::uint32_t kHierarchyControl = 0x121;
constexpr std::uint32_t kHierarchyChangeAuth = 0x129;

// One command on TPM_RH_PLATFORM with a password authorization.
Result<void> platform_command(engine::Engine& engine, std::uint32_t code, ByteView password,
                              ByteView parameters) {
  SecretBytes command;
  SecretWriter w(command);
  const std::size_t auth_size = 4 + 2 + 1 + 2 + password.size();
  const std::size_t size = frame::kHeaderSize + 4 + 4 + auth_size + parameters.size();
  w.u16(frame::kTagSessions)
      .u32(static_cast<std::uint32_t>(size))
      .u32(code)
      .u32(frame::kRhPlatform);
  w.u32(static_cast<std::uint32_t>(auth_size))
      .u32(frame::kRsPassword)
      .u16(0)
      .u8(0)
      .sized16(password);
  w.bytes(parameters);
  VTPM_TRY(const ByteView reply, engine.process(command, 0));
  if (const std::uint32_t rc = frame::response_code(reply); rc != frame::kRcSuccess)
    return fail(
        ErrorCode::internal,
        fmt::format("cannot close the platform hierarchy: command {:#x} gave {:#x}", code, rc));
  return {};
}

}  // namespace

Result<void> close_platform_hierarchy(engine::Engine& engine) {
  SecretBytes password(32);
  VTPM_CHECK(fill_random(password));
  SecretBytes new_auth;
  SecretWriter(new_auth).sized16(password);
  VTPM_CHECK(platform_command(engine, kHierarchyChangeAuth, {}, new_auth));
  Bytes disable;
  Writer(disable).u32(frame::kRhPlatform).u8(0);
  return platform_command(engine, kHierarchyControl, password, disable);
}

}  // namespace vtpm::worker
