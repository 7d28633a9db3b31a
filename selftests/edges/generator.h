// SPDX-License-Identifier: Apache-2.0
// Frames no well-behaved client sends, from a seed. The same seed gives the same frames.
#pragma once

#include <cstdint>
#include <random>

#include "node.h"

namespace edges {

class Generator {
 public:
  explicit Generator(std::uint32_t seed) : random_(seed) {}

  Frame oversized();    // longer than 4096 bytes, or says so
  Frame truncated();    // a frame that ends before it says, or before its parameters do
  Frame zero_length();  // no byte at all, or a length field below a header
  // Noise; noise behind a header, handles and a session; good commands with a byte or two changed.
  Frame random();

 private:
  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(random_() % n); }
  std::uint32_t any_code();
  Frame command(std::size_t parameters);
  Frame mutated();

  std::mt19937 random_;
};

}  // namespace edges
