// SPDX-License-Identifier: Apache-2.0
// The rule of every command in read-only mode, as data: one row each, in the order of
// frame::command_table(). Private to this folder and its tests.
// Source: US 12,386,650, paragraphs 46-52; Documentation/design/read-only-mode.rst has the reasons.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "policy/conditions.h"
#include "policy/policy.h"

namespace vtpm::policy {

enum class Verdict : std::uint8_t { allow, deny, conditional };

struct Rule {
  std::uint32_t code;
  std::string_view name;
  Verdict verdict;
  Reason reason;        // why it is refused; for a conditional one: where it cannot be read at all
  Condition condition;  // conditional: the test; else null
  Effect effect;        // of a run without sessions
};

std::span<const Rule> rules();
const Rule* find_rule(std::uint32_t code);  // null if unknown

}  // namespace vtpm::policy
