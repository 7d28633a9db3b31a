// SPDX-License-Identifier: Apache-2.0
// What is measured: something that answers a request with a reply.
//
// One thread uses a subject. Whatever goes wrong ends the program: a time that was taken around a
// failure must not reach a report.
#pragma once

#include <memory>
#include <string>

#include "frames.h"

namespace bench {

class Subject {
 public:
  virtual ~Subject() = default;
  [[nodiscard]] virtual bool is_tpm() const { return true; }
  // Sends the request, waits for the reply and returns it; valid until the next call.
  // `reply_size` is what a ping-pong shall answer with.
  virtual ByteView exchange(ByteView request, std::size_t reply_size) = 0;
};

// `what`: the path of a character device or of a listening unix stream socket, or
//   pipe:          a process that answers over a pair of pipes and does nothing else,
//   unix:          the same over a unix stream socket,
//   libtpms:       libtpms called in this process, which has one at most,
//   libtpms-pipe:  the process behind the pipes answers with its libtpms.
// These are the floors: no TPM outside the kernel answers with fewer wake-ups than the first two,
// and none that is libtpms with less work than the others.
std::unique_ptr<Subject> open_subject(const std::string& what);

// In in_process.cc: a TPM of libtpms, new and powered on.
std::unique_ptr<Subject> open_libtpms();

[[noreturn]] void die(const std::string& message);
[[noreturn]] void die_errno(const std::string& message);

}  // namespace bench
