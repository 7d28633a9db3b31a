// SPDX-License-Identifier: Apache-2.0
// Messages between the manager (vtpmd) and the fork server, as those of messages.h: one datagram
// each, with its descriptors beside it. The order of a manager's life:
//
//   manager              fork server
//   (connects)        <- Busy                        another manager lives; the server closes
//                     <- Welcome, then an Inherited for each worker that an earlier manager left
//   OpenControl       ->
//                     <- Control                     /dev/vtpm, opened by who may
//   ForkRequest       ->
//                     <- Forked
//   Kill              ->
//                     <- Died                        for each worker, once
//   End               ->                             every worker dies, then the server
//
// Busy, Welcome and End must never change: managers and servers of different versions speak them.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "base/bytes.h"
#include "base/result.h"
#include "base/uuid.h"

namespace vtpm::privsep {

// Raised with each change of the messages here or in messages.h.
inline constexpr std::uint32_t kForkProtocol = 9;

// Descriptor: a pidfd of the server.
struct Welcome {
  std::uint32_t protocol = kForkProtocol;
  std::int32_t pid = 0;
  std::uint32_t workers = 0;  // so many Inherited follow
  std::string release;        // of vtpm-engine, for people
};
struct Busy {
  std::int32_t pid = 0;  // the manager that is connected
};
struct End {};

// A worker of an earlier manager: alive, or dead and nobody has heard of it. Descriptors: the
// manager's end of its socket pair, a pidfd, and what ForkRequest gave for its node.
struct Inherited {
  std::int32_t pid = 0;
  Uuid device;
  std::uint64_t incarnation = 0;
  bool dead = false;
  std::int32_t wait_status = 0;  // if dead
};
struct OpenControl {};
struct Control {  // descriptor: /dev/vtpm, if `error` is 0
  std::int32_t error = 0;
};
// Descriptors: the worker's end of its socket pair, the manager's end, and up to two that belong to
// its node. All but the first are for the next manager.
struct ForkRequest {
  std::uint64_t id = 0;
  Uuid device;
  std::uint64_t incarnation = 0;
};
struct Forked {  // descriptor: a pidfd
  std::uint64_t id = 0;
  std::int32_t pid = 0;  // 0: fork failed, `error` is its errno
  std::int32_t error = 0;
};
struct Kill {  // SIGKILL; nothing happens if `pid` is no living worker
  std::int32_t pid = 0;
};
struct Died {
  std::int32_t pid = 0;
  std::int32_t wait_status = 0;  // as waitpid() gives it
};
using ForkMessage = std::variant<Welcome, Busy, End, Inherited, OpenControl, Control, ForkRequest,
                                 Forked, Kill, Died>;

SecretBytes encode(const ForkMessage& message);
Result<ForkMessage> decode_fork(ByteView bytes);

}  // namespace vtpm::privsep
