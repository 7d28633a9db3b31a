// SPDX-License-Identifier: Apache-2.0
// Where managers find the fork server: a SOCK_SEQPACKET unix socket.
//
// Beside it lies SOCKET.lock. The server holds a lock on it as its descriptor 0, and so does each
// worker that it forks. So whoever gets the lock knows that every earlier server and every earlier
// worker is dead, however they died. Its content is the server's PID, for people and tests.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace vtpm::privsep {

struct Rendezvous {
  UniqueFd lock;
  UniqueFd listener;
};
// The server's side. Waits up to ten seconds for the death of what holds the lock; BUSY after that.
// The socket gets mode 0600 and the owner `manager`.
Result<Rendezvous> claim_rendezvous(const std::string& path, uid_t manager);
// Tells who waits for it that managers may come: systemd (NOTIFY_SOCKET), and whoever reads from
// `descriptor`, which is closed; -1: nobody.
void announce_ready(int descriptor);
// Who is at the other end of a connection.
struct Peer {
  uid_t uid = 0;
  pid_t pid = 0;
};
Result<Peer> peer_of(int connection);

// The manager's side. UNAVAILABLE: nobody listens there.
Result<UniqueFd> connect_to_fork_server(const std::string& path);
// Starts `engine_path` (vtpm-engine) in a session of its own, so that it outlives us, and waits
// until it listens on `socket_path`. Our child: waitpid() it if it ends first.
Result<pid_t> spawn_fork_server(const std::string& engine_path, const std::string& socket_path);

}  // namespace vtpm::privsep
