// SPDX-License-Identifier: Apache-2.0
// The commands that are timed. None needs a key or changes what is stored: every TPM that was
// started, a read-only one too, answers them with success.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace bench {

using Bytes = std::vector<std::uint8_t>;

struct Command {
  std::string name;
  Bytes request;
  std::size_t reply_size;  // of the successful reply; a ping-pong answers with as many bytes
};

// PCR_Read changes nothing, PCR_Extend changes what must survive a crash of the engine, GetRandom
// is what the kernel asks for most. Source: TPM 2.0 Library, Part 3, 22.4, 22.2 and 16.1.
std::vector<Command> commands();

// TPM2_Startup(CLEAR); answered TPM_RC_INITIALIZE by a TPM that runs already.
Bytes startup();

inline constexpr std::size_t kHeaderSize = 10;

// The size field of a frame that has a whole header.
std::size_t size_of(std::span<const std::uint8_t> frame);

// TPM_RC of a reply, or TPM_RC_FAILURE if the header is not that of a reply of this length.
std::uint32_t code_of(std::span<const std::uint8_t> reply);
inline constexpr std::uint32_t kRcInitialize = 0x100;

}  // namespace bench
