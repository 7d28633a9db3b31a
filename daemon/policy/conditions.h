// SPDX-License-Identifier: Apache-2.0
// The conditions of commands that read-only mode allows in one form only, and the walk over the
// handles and sessions of every command it allows. Pure; private to this folder and its tests.
//
// Each takes a well-formed command of the code it stands for and says Reason::allowed or why not.
// Parameters that are cut short can be shown to meet no condition, and are refused.
// A decrypt session hides the content of the first sized parameter, never its size or what follows
// (Part 1, 21 "Session-based encryption"), so that the fields read here are always in clear.
#pragma once

#include <cstdint>
#include <set>

#include "base/bytes.h"
#include "frame/commands.h"
#include "frame/frame.h"
#include "policy/policy.h"

namespace vtpm::policy {

struct Facts {  // what a condition may know beside the command
  const Options& options;
  const std::set<std::uint32_t>& null_primaries;
  ByteView pcr_allocation;
};

using Condition = Reason (*)(const frame::Command& command, const Facts& facts);

Reason is_linux_null_primary(const frame::Command& command, const Facts& facts);
Reason session_without_key(const frame::Command& command, const Facts& facts);
Reason secret_of_open_hierarchy(const frame::Command& command, const Facts& facts);
Reason platform_hierarchy_only(const frame::Command& command, const Facts& facts);
Reason pcr_allocation_stays(const frame::Command& command, const Facts& facts);
Reason unsigned_attestation(const frame::Command& command, const Facts& facts);
Reason context_of_null_hierarchy(const frame::Command& command, const Facts& facts);

// Handles that need an authorization, and the sessions that give it.
Reason walk(const frame::CommandInfo& info, const frame::Command& command, const Facts& facts);

// The command is byte for byte what Linux sends for its null primary (with an empty password).
bool asks_for_linux_null_primary(const frame::Command& command);

// A saved context, as far as a gate needs it (Part 2, 14.5 TPMS_CONTEXT).
struct SavedContext {
  std::uint32_t saved_handle = 0;
  std::uint32_t hierarchy = 0;
};
// False if it is cut short.
bool read_context(ByteView parameters, SavedContext& out);

inline constexpr std::uint32_t kSavedTransientObject = 0x80000000;  // not a sequence, not stClear

}  // namespace vtpm::policy
