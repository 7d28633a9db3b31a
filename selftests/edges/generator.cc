// SPDX-License-Identifier: Apache-2.0
#include "generator.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace edges {
namespace {

constexpr std::uint32_t kFirstCode = 0x11f;
constexpr std::uint32_t kLastCode = 0x197;
// Never sent: done with an empty password they would change what the same TPM answers to others,
// or take hierarchies away, so that a later refusal would prove nothing.
constexpr std::array<std::uint32_t, 12> kLeftOut = {
    0x121,  // HierarchyControl
    0x124,  // ChangeEPS
    0x125,  // ChangePPS
    0x126,  // Clear
    0x127,  // ClearControl
    0x128,  // ClockSet
    0x129,  // HierarchyChangeAuth
    0x12b,  // PCR_Allocate
    0x12d,  // PP_Commands
    0x12e,  // SetPrimaryPolicy
    0x13f,  // SetAlgorithmSet
    0x145,  // Shutdown
};
constexpr std::array<std::uint32_t, 12> kHandles = {0x00000000, 0x00000010, 0x01000000, 0x01c00002,
                                                    0x02000000, 0x03000000, 0x40000001, 0x40000007,
                                                    0x4000000a, 0x4000000b, 0x80000000, 0x81000001};

// Commands that succeed as they are: a byte changed here and there gets deep into the TPM.
constexpr std::array<std::string_view, 9> kGood = {
    "80010000000c0000017b0010",                      // GetRandom
    "8001000000140000017e00000001000b03ff0000",      // PCR_Read
    "8001000000160000017a000000010000000000000040",  // GetCapability
    "8001000000120000017d0004deadbeef000b40000007",  // Hash
    "80010000000a00000181",                          // ReadClock
    "8001000000100000018a0008000b0000",              // TestParms
    "80010000000e00000146000461626364",              // StirRandom
    "8002000000410000018200000010000000094000000900000000000000000001000b"
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",  // PCR_Extend
    "80010000002b00000176400000074000000700100001020304050607"
    "08090a0b0c0d0e0f000001"
    "0010000b",  // StartAuthSession
};

Frame from_hex(std::string_view hex) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  Frame frame;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    frame.push_back(static_cast<std::uint8_t>(digit(hex[i]) << 4 | digit(hex[i + 1])));
  }
  return frame;
}

void put_be(Frame& frame, std::uint32_t value, std::size_t size) {
  for (std::size_t i = size; i-- > 0;) frame.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
}
void set_length(Frame& frame, std::uint32_t length) {
  for (std::size_t i = 0; i < 4 && 2 + i < frame.size(); ++i) {
    frame[2 + i] = static_cast<std::uint8_t>(length >> (24 - 8 * i));
  }
}

}  // namespace

std::uint32_t Generator::any_code() {
  for (;;) {
    const std::uint32_t code = kFirstCode + below(kLastCode - kFirstCode + 1);
    if (std::find(kLeftOut.begin(), kLeftOut.end(), code) == kLeftOut.end()) return code;
  }
}

Frame Generator::command(std::size_t parameters) {
  Frame frame;
  const bool sessions = below(2) == 0;
  put_be(frame, sessions ? 0x8002 : 0x8001, 2);
  put_be(frame, 0, 4);
  put_be(frame, any_code(), 4);
  for (std::uint32_t n = below(4); n > 0; --n) put_be(frame, kHandles[below(kHandles.size())], 4);
  if (sessions) {
    put_be(frame, 9, 4);           // size of the authorization area
    put_be(frame, 0x40000009, 4);  // TPM_RS_PW
    put_be(frame, 0, 2);           // no nonce
    frame.push_back(static_cast<std::uint8_t>(below(2)));
    put_be(frame, 0, 2);  // the empty password
  }
  for (std::size_t i = 0; i < parameters; ++i) {
    // Small numbers pass for sizes, counts and selectors: they get further than noise.
    frame.push_back(static_cast<std::uint8_t>(below(2) == 0 ? below(4) : random_()));
  }
  set_length(frame, static_cast<std::uint32_t>(frame.size()));
  return frame;
}

Frame Generator::oversized() {
  Frame frame = command(below(64));
  if (below(2) == 0) {
    frame.resize(kMaxFrame + 1 + below(61'440), 0x5a);
    set_length(frame, static_cast<std::uint32_t>(frame.size()));
  } else {
    set_length(frame, kMaxFrame + 1 + below(0xffffffffU - kMaxFrame - 1));
  }
  return frame;
}

Frame Generator::truncated() {
  Frame frame = command(1 + below(200));
  frame.resize(1 + below(static_cast<std::uint32_t>(frame.size()) - 1));
  // Every other one says how short it is, so that it reaches the TPM.
  if (frame.size() >= kHeaderSize && below(2) == 0) {
    set_length(frame, static_cast<std::uint32_t>(frame.size()));
  }
  return frame;
}

Frame Generator::zero_length() {
  if (below(4) == 0) return {};
  Frame frame = command(below(64));
  set_length(frame, below(2) == 0 ? 0 : below(kHeaderSize));
  return frame;
}

Frame Generator::mutated() {
  Frame frame = from_hex(kGood[below(kGood.size())]);
  // Not the header: another command code might be one of those left out.
  for (std::uint32_t n = below(3); n > 0 && frame.size() > kHeaderSize; --n) {
    const std::size_t at =
        kHeaderSize + below(static_cast<std::uint32_t>(frame.size() - kHeaderSize));
    frame[at] = static_cast<std::uint8_t>(random_());
  }
  set_length(frame, static_cast<std::uint32_t>(frame.size()));
  return frame;
}

Frame Generator::random() {
  if (below(4) == 0) return mutated();
  // Mostly short: a command whose parameters happen to fit is done.
  constexpr std::array<std::uint32_t, 4> kMost = {4, 16, 120, 4000};
  if (below(2) == 0) return command(below(kMost[below(kMost.size())]));
  Frame frame(kHeaderSize + below(400));
  for (std::uint8_t& byte : frame) byte = static_cast<std::uint8_t>(random_());
  if (below(8) != 0) set_length(frame, static_cast<std::uint32_t>(frame.size()));
  return frame;
}

}  // namespace edges
