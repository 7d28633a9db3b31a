// SPDX-License-Identifier: Apache-2.0
// A TPM to talk to: a character device, or a unix stream socket that carries raw frames.
#pragma once

#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace vtpm::gate_test {

class Node {
 public:
  static Result<Node> open_device(const std::string& path);
  static Result<Node> connect_socket(const std::string& path);

  // One frame, one reply; waits at most a minute (a full self-test under emulation).
  Result<Bytes> exchange(ByteView frame);

 private:
  explicit Node(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace vtpm::gate_test
