// SPDX-License-Identifier: Apache-2.0
// A TPM as a client sees it: /dev/tpmN, /dev/tpmrmN, or the data socket of a socket node.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace edges {

using Frame = std::vector<std::uint8_t>;

inline constexpr std::size_t kHeaderSize = 10;
inline constexpr std::size_t kMaxFrame = 4096;

// The header's fields; 0 where the frame is too short to have them.
std::uint16_t tag_of(const Frame& frame);
std::uint32_t length_of(const Frame& frame);
std::uint32_t code_of(const Frame& frame);  // command code, or response code of a reply

struct Outcome {
  Frame reply;         // what was read, if anything
  int error = 0;       // errno of the write or read; 0 = none
  bool ended = false;  // socket: the TPM closed the connection (behind the reply, if there is one)
};

class Node {
 public:
  virtual ~Node() = default;
  // Sends the bytes as one frame, whatever they are, and takes what comes back.
  virtual Outcome exchange(const Frame& bytes) = 0;
  // What is wrong with the outcome by the node's documented rules; empty if nothing is.
  virtual std::string judge(const Frame& sent, const Outcome& outcome) const = 0;
};

// A reply that any client can parse (TPM 2.0 Library, Part 1, 18.4): its own length in the header,
// a tag of a response, sessions only with success, nothing but a header with an error.
std::string malformed(const Frame& reply);

// Null and a message on standard error if it cannot be opened.
std::unique_ptr<Node> open_device(const std::string& path);
std::unique_ptr<Node> open_socket(const std::string& path);

}  // namespace edges
