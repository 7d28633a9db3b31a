// SPDX-License-Identifier: Apache-2.0
// The way to vtpmd: which socket, and what an error means to a person.
//
// The socket is connected here with connect(2) and handed to gRPC, so that "not there", "nobody
// listens" and "you may not" are told apart by errno, not by the words of a library.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "base/unique_fd.h"
#include "environment.h"

namespace grpc {
class Channel;
class ClientContext;
class Status;
}  // namespace grpc

namespace vtpm::ctl {

enum class Role { observe, admin };

struct Connection {
  std::shared_ptr<grpc::Channel> channel;
  std::filesystem::path socket;
  std::shared_ptr<UniqueFd> line;  // the same connection, to see whether it is cut
};

// In the order of preference. `chosen` (from --socket or VTPM_SOCKET; may be empty) stands alone.
std::vector<std::filesystem::path> candidates(Role role, const std::filesystem::path& run_dir,
                                              const std::filesystem::path& chosen);

// Tries one after the other; the failure speaks of the one that matters most to the person.
Outcome<Connection> connect_first(const std::vector<std::filesystem::path>& sockets);

// connect(2) alone: 0 or errno. Used by doctor, too. With `fd`, the connected socket is left there.
int try_connect(const std::filesystem::path& socket, int* fd = nullptr);

// "root:vtpm, mode 0660", or empty if it cannot be looked at.
std::string ownership(const std::filesystem::path& path);

// What a failed call means. `context` holds the server's trailer "vtpm-hint".
Failure failure_of(const grpc::Status& status, const grpc::ClientContext& context, Role role,
                   const Connection& connection);

}  // namespace vtpm::ctl
