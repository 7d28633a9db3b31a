// SPDX-License-Identifier: Apache-2.0
#include "channel/swtpm_protocol.h"

#include <algorithm>

#include "frame/frame.h"

namespace vtpm::channel::swtpm {
namespace {

constexpr std::size_t kCodeSize = 4;

// Bits of GET_CAPABILITY's answer.
constexpr std::uint32_t kCapInit = 1U << 0;
constexpr std::uint32_t kCapShutdown = 1U << 1;
constexpr std::uint32_t kCapGetEstablished = 1U << 2;
constexpr std::uint32_t kCapSetLocality = 1U << 3;
constexpr std::uint32_t kCapCancel = 1U << 5;
constexpr std::uint32_t kCapResetEstablished = 1U << 7;
constexpr std::uint32_t kCapStop = 1U << 10;
constexpr std::uint32_t kCapGetConfig = 1U << 11;
constexpr std::uint32_t kCapSetDataFd = 1U << 12;
constexpr std::uint32_t kCapSetBufferSize = 1U << 13;

struct Body {
  std::size_t least = 0;  // bytes without which the request cannot be understood
  std::size_t most = 0;   // bytes of the structure in tpm_ioctl.h
  bool supported = true;
  bool framed = true;  // false: of any length, or unknown
};

Body body_of(Command command) {
  switch (command) {
    case Command::get_capability:
    case Command::shutdown:
    case Command::get_established:
    case Command::cancel:
    case Command::stop:
    case Command::get_config:
    case Command::set_data_fd: return {};
    case Command::init:
    case Command::set_buffer_size: return {.least = 4, .most = 4};
    case Command::set_locality:
    case Command::reset_established: return {.least = 1, .most = 4};
    case Command::hash_start:
    case Command::hash_end:
    case Command::store_volatile: return {.supported = false};
    case Command::get_state_blob: return {.least = 12, .most = 12, .supported = false};
    case Command::get_info: return {.least = 16, .most = 16, .supported = false};
    case Command::hash_data:
    case Command::set_state_blob: break;
  }
  return {.supported = false, .framed = false};
}

bool all_zero(ByteView bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

bool only_padding(ByteView buffered, std::size_t padding) {
  return buffered.size() <= padding && all_zero(buffered);
}

Parsed parse(ByteView buffered, std::size_t padding) {
  Parsed parsed{.padding = padding};
  if (buffered.size() < kCodeSize) return parsed;
  // There is no command 0, and every code begins with three zero bytes: four of them mean that
  // late padding stands before the code.
  if (padding > 0 && all_zero(buffered.first(kCodeSize))) {
    parsed.used = padding;
    buffered = buffered.subspan(std::min(padding, buffered.size()));
    if (buffered.size() < kCodeSize) {
      parsed.used = 0;  // look again when the code is there
      return parsed;
    }
  }
  parsed.command = static_cast<Command>(load_be32(buffered.data()));
  const Body body = body_of(parsed.command);
  if (!body.framed) {
    parsed.status = Parsed::Status::unframed;
    return parsed;
  }
  const ByteView rest = buffered.subspan(kCodeSize);
  if (rest.size() < body.least) {
    parsed.used = 0;
    return parsed;
  }
  const std::size_t taken = std::min(rest.size(), body.most);
  parsed.used += kCodeSize + taken;
  parsed.padding = body.most - taken;
  parsed.status = body.supported ? Parsed::Status::complete : Parsed::Status::unsupported;
  if (body.least == 1) parsed.argument = std::to_integer<std::uint8_t>(rest[0]);
  if (body.least == 4) parsed.argument = load_be32(rest.data());
  return parsed;
}

Answer& Answer::u32(std::uint32_t v) {
  store_be32(bytes_.data() + size_, v);
  size_ += sizeof(v);
  return *this;
}

Answer Answer::result(std::uint32_t code) { return Answer().u32(code); }

Answer Answer::capabilities() {
  return Answer().u32(0).u32(kCapInit | kCapShutdown | kCapGetEstablished | kCapSetLocality |
                             kCapCancel | kCapResetEstablished | kCapStop | kCapGetConfig |
                             kCapSetDataFd | kCapSetBufferSize);
}

Answer Answer::established(std::uint32_t code, bool bit) {
  return Answer().u32(code).u32(bit ? 1U << 24 : 0);  // one byte, then three of padding
}

Answer Answer::config() { return Answer().u32(kSuccess).u32(0); }

Answer Answer::buffer_size() {
  return Answer().u32(kSuccess).u32(frame::kMaxFrame).u32(frame::kMaxFrame).u32(frame::kMaxFrame);
}

}  // namespace vtpm::channel::swtpm
