// SPDX-License-Identifier: Apache-2.0
#include "commands.h"

namespace bench {
namespace {

constexpr std::uint32_t kRcFailure = 0x101;
constexpr std::size_t kDigestSize = 32;

std::uint32_t be32(std::span<const std::uint8_t> bytes, std::size_t at) {
  return static_cast<std::uint32_t>(bytes[at]) << 24 |
         static_cast<std::uint32_t>(bytes[at + 1]) << 16 |
         static_cast<std::uint32_t>(bytes[at + 2]) << 8 | bytes[at + 3];
}

Bytes pcr_read() {  // PCR 16 of the SHA-256 bank
  return {0x80, 0x01, 0, 0, 0, 20, 0, 0, 0x01, 0x7e, 0, 0, 0, 1, 0, 0x0b, 3, 0, 0, 0x01};
}

Bytes pcr_extend() {  // PCR 16, password session with an empty password, one SHA-256 digest
  Bytes request = {0x80, 0x02, 0, 0, 0, 65, 0, 0, 0x01, 0x82, 0, 0, 0, 16, 0, 0,   0,
                   9,    0x40, 0, 0, 9, 0,  0, 0, 0,    0,    0, 0, 0, 1,  0, 0x0b};
  request.resize(request.size() + kDigestSize, 0x5a);
  return request;
}

Bytes get_random() { return {0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, kDigestSize}; }

}  // namespace

std::vector<Command> commands() {
  return {{"PCR_Read", pcr_read(), 62},
          {"PCR_Extend", pcr_extend(), 19},
          {"GetRandom", get_random(), 44}};
}

Bytes startup() { return {0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0}; }

std::size_t size_of(std::span<const std::uint8_t> frame) { return be32(frame, 2); }

std::uint32_t code_of(std::span<const std::uint8_t> reply) {
  if (reply.size() < kHeaderSize || size_of(reply) != reply.size()) return kRcFailure;
  return be32(reply, 6);
}

}  // namespace bench
