// SPDX-License-Identifier: Apache-2.0
// The command table: every TPM 2.0 command that libtpms 0.9.2 implements (110), with what is needed
// to walk a frame. A unit test holds it against the engine's own list, so that a newer libtpms
// cannot bring in a command that nobody decided on.
// Source: TPM 2.0 Library, Part 3; Part 2, 6.5.2 (codes).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace vtpm::frame {

struct CommandInfo {
  std::uint32_t code;
  std::string_view name;       // without "TPM2_": "PCR_Extend"
  std::uint8_t handles;        // handles in the command's handle area
  std::uint8_t auth_handles;   // how many of them need an authorization
  std::uint8_t reply_handles;  // 0 or 1: handles in the reply, before the parameter size
};

std::span<const CommandInfo> command_table();            // sorted by code
const CommandInfo* find_command(std::uint32_t code);     // null if unknown
const CommandInfo* find_command(std::string_view name);  // exact, case-sensitive; null if unknown

}  // namespace vtpm::frame
