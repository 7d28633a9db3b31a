// SPDX-License-Identifier: Apache-2.0
// Engine: the one libtpms instance of this process. The only folder that includes libtpms.
//
// libtpms keeps its state in globals, so there is at most one Engine at a time and one thread uses
// it. Replies and state blobs may hold secrets and are returned in memory that wipes itself.
// Errors of this interface are failures of the engine; a TPM's refusal is a reply like any other.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/result.h"

namespace vtpm::engine {

// What a new engine starts from.
enum class Origin : std::uint8_t {
  blank,    // public zero state: no seed, proof or key is ever made (read-only devices)
  fresh,    // manufactured: every seed and proof random (read-write devices without a state)
  restore,  // the given blobs
};

struct StartOptions {
  Origin origin = Origin::blank;
  ByteView permanent{};       // restore: required
  ByteView volatile_state{};  // restore: empty = the power was off
  // The resumed state is the single continuation of the last run (crash recovery, wake): only the
  // drbg seed is made new, so that an unlogged GetRandom never repeats, and the time since then, in
  // the same boot of the host, is time of the TPM. Otherwise (clone, rollback, import) commitNonce
  // is made new as well, and no time has passed.
  bool sole_continuation = true;
};

// What becomes of the platform hierarchy in take_identity().
enum class Platform : std::uint8_t {
  as_it_is,  // somebody plays the firmware: it is as closed as that one left it
  opened,    // nobody does: enabled, with the empty authorization, whatever clients made of it
};

class Engine {
 public:
  // Loads and self-tests libtpms on the public zero state, then terminates and wipes what that
  // left: called by the fork server, once, before it forks.
  static Result<void> warm_up();

  // Powers the TPM on. It waits for TPM2_Startup unless volatile_state says that it had that
  // already. The first start of Origin::blank in a process without warm_up() forks a child to make
  // the state.
  static Result<std::unique_ptr<Engine>> start(const StartOptions& options);
  virtual ~Engine() = default;

  // Executes one command. The view is valid until the next call and lies in memory that the engine
  // wipes. Answers TPM_RC_RETRY of the first dictionary-attack-protected use itself, by
  // resubmitting.
  virtual Result<ByteView> process(ByteView command, std::uint8_t locality) = 0;

  // True if libtpms stored its permanent state since the last call; clears the mark.
  virtual bool take_permanent_changed() = 0;

  virtual Result<SecretBytes> permanent() = 0;
  Result<SecretBytes> volatile_state() {
    SecretBytes state;
    VTPM_CHECK(read_volatile_state(state));
    return state;
  }
  // Into memory that is there already: most checkpoints are as large as the one before.
  virtual Result<void> read_volatile_state(SecretBytes& out) = 0;
  // Does a command that changes nothing leave something all the same? One that is audited counts in
  // a digest, and one that is not of an exclusive audit session ends that it is exclusive.
  // `volatile_state` is what read_volatile_state() gave last.
  virtual Result<bool> is_audited(ByteView volatile_state) = 0;

  // Power cut and restored without a process switch: volatile state gone, permanent kept.
  virtual Result<void> power_cycle() = 0;

  // TPM2_Startup(CLEAR) as a platform's firmware would; a TPM that was started already is fine.
  virtual Result<void> startup_clear() = 0;
  // TPM2_Shutdown(CLEAR), so that the next start counts as orderly.
  virtual Result<void> shutdown_clear() = 0;

  // Read-only -> read-write, between two commands: the permanent state becomes `manufactured`, a
  // state of Origin::fresh with what was made in it since, and keeps of the old one the PCR banks,
  // the clock and the counts of resets. PCRs, sessions, hash sequences and the NULL hierarchy go
  // on; the storage and endorsement hierarchies are enabled. After an error the engine is of no
  // more use; the last checkpoint is.
  virtual Result<void> take_identity(ByteView manufactured, Platform platform) = 0;

  // For the socket's control protocol (GET/RESET_TPMESTABLISHED, TPM_IO_Hash_*).
  virtual Result<bool> established() = 0;
  virtual Result<void> reset_established(std::uint8_t locality) = 0;
};

// The size of the largest permanent blob this libtpms can make.
std::size_t max_permanent_size();
std::string_view libtpms_version();

}  // namespace vtpm::engine
