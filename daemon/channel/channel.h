// SPDX-License-Identifier: Apache-2.0
// Channel: where command frames come from and replies go: a kernel node's engine fd, or a socket.
//
// One frame is in flight at a time. A worker's one thread owns the channel.
#pragma once

#include <cstdint>
#include <memory>
#include <variant>

#include "base/bytes.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace vtpm::channel {

struct Frame {
  std::uint64_t sequence = 0;
  std::uint8_t locality = 0;
  bool bootstrap = false;    // sent by the kernel's TPM core while it registers the device
  bool redelivered = false;  // an earlier engine had taken it
  ByteView bytes;            // valid until the next call of exchange()
};

// The manager has sent a message: read the manager's socket, then call exchange() again.
struct Wake {};

// The host's control channel of a socket asks for something only the engine can do; the worker
// does it and calls complete_control().
struct Control {
  enum class Kind : std::uint8_t {
    init,      // power on or reset: volatile state gone unless keep_volatile
    shutdown,  // swtpm CMD_SHUTDOWN: orderly end, the device goes off
    stop,      // swtpm CMD_STOP: the TPM stops answering until init
    established,
    reset_established,
  };
  Kind kind = Kind::init;
  bool keep_volatile = false;
  std::uint8_t locality = 0;
};

// The device is gone or another engine has taken over: the worker leaves without a word.
struct Closed {
  bool fenced = false;
};

using Event = std::variant<Frame, Wake, Control, Closed>;

struct Reply {
  std::uint64_t sequence = 0;
  ByteView bytes;
};

class Channel {
 public:
  virtual ~Channel() = default;
  // Sends `reply` (null = none), then waits for the next event: one system call a command where
  // the kernel offers it. A reply that is no longer wanted is dropped without an error.
  virtual Result<Event> exchange(const Reply* reply) = 0;
  // Sends `reply` and waits for nothing: the last word of a worker that ends.
  virtual Result<void> finish(const Reply& reply) = 0;
  // Answers the last Control event. `value` is the answer of Kind::established.
  virtual Result<void> complete_control(bool ok, bool value) = 0;
  // A channel that the next worker makes serves its clients as this one: nobody would notice.
  [[nodiscard]] virtual bool at_rest() const { return true; }
};

// `engine_fd`: from VTPM_IOC_CREATE or ATTACH. Wakes by VTPM_IOC_WAKE.
std::unique_ptr<Channel> make_kernel_channel(UniqueFd engine_fd);

// `data_listener` and `control_listener`: listening unix stream sockets S and S.ctrl, served as
// swtpm's UnixIO does. S: frames, one client at a time. A length field below 10 or above 4096 is
// answered TPM_RC_COMMAND_SIZE and ends that connection, since the next frame cannot be found
// behind it; frames between CMD_STOP and CMD_INIT are answered TPM_RC_FAILURE; neither reaches the
// worker nor has a sequence number. A reply to a client that has gone is dropped. While a frame is
// owed its reply, exchange(nullptr) waits for the other events alone. S.ctrl: one client at a time
// (see swtpm_protocol.h); CMD_INIT is a power cycle, always (keep_volatile stays false); the
// locality it sets holds for every client of S until it is set again.
// Wakes when `manager_fd` (not owned) is readable or hung up. `first_sequence`: of the last
// command done before; frames are numbered from the next one.
std::unique_ptr<Channel> make_socket_channel(UniqueFd data_listener, UniqueFd control_listener,
                                             int manager_fd, std::uint64_t first_sequence);

}  // namespace vtpm::channel
