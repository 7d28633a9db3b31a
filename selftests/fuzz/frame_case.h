// SPDX-License-Identifier: Apache-2.0
// The input of the frame harness: a device's options and the exchanges of its life.
//
//   0   UINT8   bit 0: read-write, bit 1: linux_hmac, bit 2: pcr_banks_kept
//   1   exchanges: UINT8 locality, TPM2B command, TPM2B reply; what is left over is a last command
//
// Lengths that are too large mean "the rest", so that every input is a case.
#pragma once

#include <vector>

#include "base/bytes.h"
#include "policy/policy.h"

namespace vtpm::fuzz {

struct Exchange {
  std::uint8_t locality = 0;
  Bytes command;
  Bytes reply;
};

struct FrameCase {
  std::uint8_t flags = 0;
  std::vector<Exchange> exchanges;
};

inline constexpr std::size_t kMaxExchanges = 8;

policy::Options options_of(const FrameCase& c);
FrameCase decode_case(ByteView input);
Bytes encode_case(const FrameCase& c);

// A well-formed command of the table; nothing of `random` is kept.
struct Dice {
  std::uint64_t state;
  std::uint32_t below(std::uint32_t n);  // n > 0
  bool one_in(std::uint32_t n) { return below(n) == 0; }
};
std::uint32_t some_handle(Dice& dice);
Bytes some_command(Dice& dice);
// A reply to it that has the right form: often a success.
Bytes some_reply(Dice& dice, ByteView command);
// The size field says what there is.
void mend_size(Bytes& frame);

}  // namespace vtpm::fuzz
