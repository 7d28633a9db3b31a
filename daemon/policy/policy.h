// SPDX-License-Identifier: Apache-2.0
// The gate: decides from a frame alone whether a device in a given mode may execute it.
//
// Source: US 12,386,650, figure 8 and paragraphs 41-47; Documentation/design/read-only-mode.rst has
// the table with its reasons. The gate is an allow-list: a code it does not know never reaches the
// engine, in any mode.
// Threads: a Gate belongs to one worker; decide() and observe() are called by its one thread.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <string_view>

#include "base/bytes.h"
#include "frame/frame.h"

namespace vtpm::policy {

enum class Mode : std::uint8_t { read_only = 1, read_write = 2 };
std::string_view to_string(Mode mode);  // "read-only", "read-write"

struct Options {
  Mode mode = Mode::read_only;
  bool linux_hmac = false;  // compat=linux-hmac: kernels with CONFIG_TCG_TPM2_HMAC
  // The device's record keeps the PCR banks as plain configuration, so that PCR_Allocate may change
  // them in read-only mode. False: only an allocation equal to the one in force is let through.
  bool pcr_banks_kept = false;
};

// Why a frame was refused; to_string gives a sentence for people (vtpmctl denied, explain).
enum class Reason : std::uint8_t {
  allowed,
  malformed,        // reply is what libtpms would say of the header
  unknown_command,  // TPM_RC_COMMAND_CODE
  generates_key,    // the rest: TPM_RC_READ_ONLY
  loads_or_stores_key,
  uses_key,
  attests_by_key,
  policy_by_key_or_ticket,
  changes_nv,
  changes_persistent_authorization,
  dictionary_attack,
  salted_or_bound_session,
  lockout_authorization,
  asks_for_ticket,
  hierarchy_not_platform,
  pcr_allocation_changes,
  context_of_keyed_hierarchy,
  session_uses_key,
};
std::string_view to_string(Reason reason);

// What a command changes, and so what must be kept before its reply leaves: nothing (a read without
// sessions, which never fails into the dictionary-attack count), or something. Of the latter,
// replayable ones depend on nothing but frame, locality and state, so that keeping the frame keeps
// the effect; and what a password authorizes to read something, or to use a key on something,
// changes nothing if it succeeds. Whether the permanent state changed the engine itself tells, and
// whether somebody audits what changes nothing (Engine::is_audited).
enum class Effect : std::uint8_t { none, volatile_state, replayable, none_if_done };

struct Decision {
  bool allow = false;
  Reason reason = Reason::allowed;
  std::uint32_t rc = 0;          // response code of the fixed reply, if !allow
  std::uint32_t code = 0;        // command code, 0 if the header is malformed
  Effect effect = Effect::none;  // of an allowed command that the engine executes: see effect_of()
  // Ten bytes that answer a refused frame, the same shape for every refusal.
  std::array<std::byte, frame::kHeaderSize> reply{};
};

class Gate {
 public:
  explicit Gate(Options options);
  void set_mode(Mode mode) { options_.mode = mode; }
  [[nodiscard]] Mode mode() const { return options_.mode; }

  // No side effect on the gate or the TPM.
  [[nodiscard]] Decision decide(ByteView frame, std::uint8_t locality) const;

  // Told of every executed command and its reply, so that conditions on earlier ones can hold
  // (PCR_Allocate: the banks in force; linux_hmac: which handle holds the null primary).
  void observe(ByteView frame, ByteView reply);

  // A worker that goes on from a checkpoint has observed nothing; this is what it found in the
  // engine. linux_hmac: a transient object of the device that is a key.
  void resume_null_primary(std::uint32_t handle) { null_primaries_.insert(handle); }

  // Changes the reply of an allowed command where the mode must show (TPMA_STARTUP_CLEAR.readOnly,
  // in replies without sessions only: a patched one would break the HMAC of an audited reply).
  void patch_reply(ByteView frame, MutableByteView reply) const;

 private:
  Options options_;
  std::set<std::uint32_t> null_primaries_;  // linux_hmac: handles of the kernel's null primary
  Bytes pcr_allocation_;                    // TPML_PCR_SELECTION in force, once seen; empty before
};

// The effect of a command that was decided on and executed: an engine that answers TPM_RC_FAILURE
// has entered failure mode, which is a state. Only a success is replayable, and after a failure a
// wrong authorization may have been counted. Never none_if_done.
Effect effect_of(const Decision& decision, std::uint32_t response_code);

}  // namespace vtpm::policy
