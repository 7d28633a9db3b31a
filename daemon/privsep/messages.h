// SPDX-License-Identifier: Apache-2.0
// Messages between the manager (vtpmd) and a worker; those of the fork server: fork_messages.h.
//
// One message is one datagram of a SOCK_SEQPACKET unix socket, big-endian, with its file
// descriptors beside it. Both sides treat the other as hostile: decode() checks every length.
// The order of a worker's life:
//
//   manager                     worker
//   Start (journal, channel) ->
//                            <- Ready | Failed
//                            <- Commit              permanent state changed: must be durable
//   Committed | Refused      ->                     before the reply may leave
//                            <- Denied              a refused frame, for the log; rate-limited
//   Adopt                    ->                     from a new manager: an open Commit comes again
//                            <- Ready               and this too, once no Commit is open
//   TakeIdentity             ->                     read-only becomes read-write
//                            <- Commit              with the new identity inside
//   TellUse                  ->                     of a worker on sockets: is it idle?
//                            <- Use
//   Stop                     ->                     then VTPM_IOC_WAKE, or the socket wakes it
//                            <- Stopped | Use       last checkpoint is in journal (and store)
//
// One that makes an identity has no node and no journal:
//
//   Manufacture              ->
//                            <- MadeKeys | Failed   to be certified
//   Certificates             ->
//                            <- Manufactured        and it ends
//
//   MakeAhead                ->                     what of an identity is the same for all events
//                            <- Manufactured        for Manufacture::ahead, once; and it ends
//
//   TellRunning              ->                     at any time between two commands
//                            <- Running
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/checkpoint.h"
#include "base/measurement.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "base/uuid.h"

namespace vtpm::privsep {

enum class NodeKind : std::uint8_t { kernel = 1, socket = 2 };
enum class DeviceMode : std::uint8_t { read_only = 1, read_write = 2 };
enum class DeviceKind : std::uint8_t { container = 1, vm = 2, open = 3 };
// Which endorsement keys an identity has (worker/key_templates.h).
enum class IdentityProfile : std::uint8_t { standard = 1, ecc = 2, full = 3 };
inline constexpr bool has_rsa_key(IdentityProfile profile) {
  return profile != IdentityProfile::ecc;
}

// manager -> worker, first message. Descriptors: journal (not if `failed`), then the engine fd
// (kernel) or the data and control listeners (socket).
struct Start {
  Uuid device;
  std::string name;  // for the worker's log lines only
  NodeKind node = NodeKind::kernel;
  DeviceMode mode = DeviceMode::read_only;
  DeviceKind kind = DeviceKind::container;
  bool linux_hmac = false;
  bool firmware = false;   // nobody else sends TPM2_Startup(CLEAR) at power-on: the worker does
  bool failed = false;     // no state at all: answer every command with TPM_RC_FAILURE
  bool first_run = false;  // the state is of a copy that nobody has run; it continues nobody's time
  Checkpoint checkpoint;   // what to resume from; its incarnation is the worker's own
  // Extended at each power-on, before anybody uses the device. Only if `firmware`.
  std::vector<Measurement> measurements;
};
struct Stop {
  enum class How : std::uint8_t {
    park = 1,       // keep the volatile state: the journal's last checkpoint is complete
    power_off = 2,  // TPM2_Shutdown(CLEAR), commit the permanent state, drop the volatile one
    rest = 3,       // park, unless a client of a socket would notice: then the answer is Use
  };
  How how = How::park;
};
// A read-only device that runs gets the identity that another worker has made. It commits what it
// is then; the store's answer makes it read-write.
struct TakeIdentity {
  SecretBytes manufactured;  // libtpms permanent state
};
// First message, without descriptors.
struct Manufacture {
  IdentityProfile profile = IdentityProfile::standard;
  SecretBytes authorization;           // of LINEAGE and GENERATION (frame/lineage.h)
  std::array<std::byte, 32> event{};   // digest of the event that it comes from
  std::array<std::byte, 32> policy{};  // of the attestation key
  // A libtpms permanent state that is to become another TPM's (worker/rebase.h), and the seed that
  // it gets; empty: a new TPM.
  SecretBytes endorsement_seed{};
  SecretBytes copy{};
  bool fresh_storage = false;
  std::uint32_t steps = 1;  // by which GENERATION grows
  // Of the TPM whose place the copy takes: the beginning of its permanent state, for what wrong
  // guesses have cost there (engine/copied_state.h). Empty: the copy takes nobody's place.
  SecretBytes predecessor{};
  SecretBytes running{};  // of the TPM that was copied (Running); empty = it goes without
  // Instead of a copy: what a worker made when it was told MakeAhead{profile}. The new TPM is that
  // one, so it serves one identity.
  SecretBytes ahead{};
};
// First message, without descriptors. A TPM is manufactured and gets the keys of the profile, but
// for the attestation key, which depends on the event: a permanent state that nobody owns yet.
struct MakeAhead {
  IdentityProfile profile = IdentityProfile::standard;
};
// What of the device goes along with a copy of it.
struct TellRunning {
  std::uint64_t ticket = 0;  // says which question the answer is to
};
struct TellUse {};
struct Certificates {
  std::vector<Bytes> certificates;  // X.509, DER; in the order of the keys
  Bytes chain;                      // what is between them and the root
};
struct Committed {
  std::uint64_t sequence = 0;
  std::uint64_t permanent_version = 0;
};
// From a manager that has found the worker serving. What the last manager left unanswered comes
// again, so a worker may hear Committed twice.
struct Adopt {};
struct Refused {  // the store will not take it: the worker must not reply, and ends
  std::string reason;
};

// worker -> manager
struct Ready {
  bool startup_done = false;
};
struct Failed {
  std::string reason;
};
struct Commit {
  Checkpoint checkpoint;  // permanent and volatile part both present
};
struct Denied {
  std::uint32_t command_code = 0;  // 0: the header was malformed
  std::uint8_t reason = 0;         // policy::Reason
  std::uint8_t locality = 0;
  std::uint32_t rc = 0;
  std::uint64_t sequence = 0;
  std::uint32_t suppressed = 0;  // refusals since the last message that were not reported
};
// The endorsement keys of a new identity, its attestation key, and the properties of its TPM (Part
// 2, 6.13) that belong in their certificates.
struct MadeKeys {
  std::uint32_t manufacturer = 0;
  std::string model;  // the vendor strings
  std::uint32_t firmware_version = 0;
  std::uint32_t spec_level = 0;
  std::uint32_t spec_revision = 0;
  std::vector<Bytes> keys;  // TPMT_PUBLIC; the attestation key is the last one
};
struct Manufactured {
  SecretBytes permanent;         // libtpms permanent state
  SecretBytes volatile_state{};  // if it got a `running` part; empty = powered off in order
};
struct Running {
  std::uint64_t ticket = 0;
  SecretBytes part;  // engine/copied_state.h; empty = it waits for TPM2_Startup
};
struct Use {
  std::uint64_t sequence = 0;  // of the last command
  bool connected = false;      // to one of its sockets, or its channel is not as a fresh one
  bool stays = false;          // it was told to rest, and does not
};
struct Stopped {
  std::uint64_t sequence = 0;
  bool asked_by_host = false;  // the socket's control channel said SHUTDOWN
};

using Message = std::variant<Start, Stop, Committed, Refused, Ready, Failed, Commit, Denied,
                             Stopped, Adopt, TakeIdentity, Manufacture, MadeKeys, Certificates,
                             Manufactured, TellRunning, Running, TellUse, Use, MakeAhead>;

// A crash is a death by the worker's own fault, not a SIGKILL or SIGTERM from outside.
bool is_crash(int wait_status);

// A datagram must fit in a socket's default buffer, 208 KiB less what the kernel adds.
inline constexpr std::size_t kMaxMessage = std::size_t{207} * 1024;
inline constexpr std::size_t kMaxDescriptors = 4;
// Manufacture::predecessor, and steps. That much is before what is needed of a state in any case
// (engine/copied_state_test.cc); and a step takes microseconds.
inline constexpr std::size_t kMaxPredecessor = std::size_t{8} * 1024;
inline constexpr std::uint32_t kMaxSteps = 1'000'000;
inline constexpr std::size_t kMaxCertifiedKeys = 8;   // of an identity
inline constexpr std::size_t kMaxCertificate = 2048;  // and of a key's public area

SecretBytes encode(const Message& message);
Result<Message> decode(ByteView bytes);

// One datagram with its descriptors.
struct Received {
  SecretBytes bytes;  // empty: the peer has closed its end
  std::vector<UniqueFd> descriptors;
};
// Waits for room, or fails with ErrorCode::busy if `nonblocking` and there is none.
Result<void> send_datagram(int socket, ByteView bytes, std::span<const int> descriptors = {},
                           bool nonblocking = false);
// Waits unless `nonblocking`; nothing there: ErrorCode::busy.
Result<Received> receive_datagram(int socket, bool nonblocking);

}  // namespace vtpm::privsep
