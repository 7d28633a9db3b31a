// SPDX-License-Identifier: Apache-2.0
// The control protocol of swtpm, as QEMU's tpm-emulator and tpm2-tss's tcti-swtpm speak it: pure
// functions between bytes and requests.
//
// A request is a big-endian command code and a body that the code determines. An answer begins with
// a result (TPM 1.2 codes), except that of GET_CAPABILITY, which is a bare 64-bit mask. A client
// waits for an answer before its next request.
//
// Supported: what capabilities() says. Hashing, state blobs, STORE_VOLATILE and GET_INFO are not:
// hashing needs locality 4 only, and state leaves a vTPM through checkpoints alone.
// Source: swtpm's tpm_ioctl.h, "Commands used by the non-CUSE TPMs", and its wiki page
// "Control Channel Specification".
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"

namespace vtpm::channel::swtpm {

enum class Command : std::uint32_t {
  get_capability = 0x01,
  init = 0x02,
  shutdown = 0x03,
  get_established = 0x04,
  set_locality = 0x05,
  hash_start = 0x06,
  hash_data = 0x07,
  hash_end = 0x08,
  cancel = 0x09,
  store_volatile = 0x0a,
  reset_established = 0x0b,
  get_state_blob = 0x0c,
  set_state_blob = 0x0d,
  stop = 0x0e,
  get_config = 0x0f,
  set_data_fd = 0x10,
  set_buffer_size = 0x11,
  get_info = 0x12,
};

// Results (TPM 1.2, Part 2, section 16).
inline constexpr std::uint32_t kSuccess = 0x00;
inline constexpr std::uint32_t kBadParameter = 0x03;
inline constexpr std::uint32_t kFail = 0x09;
inline constexpr std::uint32_t kBadOrdinal = 0x0a;  // not supported, or not while stopped
inline constexpr std::uint32_t kIoError = 0x1f;
inline constexpr std::uint32_t kBadLocality = 0x3d;

inline constexpr std::uint32_t kInitDeleteVolatile = 1U << 0;
inline constexpr std::uint8_t kMaxLocality = 4;
inline constexpr std::size_t kMaxRequest = 4 + 16;

// What a control connection has buffered, taken as one request.
struct Parsed {
  enum class Status : std::uint8_t {
    incomplete,   // more bytes are needed
    complete,     // `command` and `argument` hold; `used` bytes are done with
    unsupported,  // known, its end is known: refuse, `used` bytes are done with
    unframed,     // its end is not known: refuse and close
  };
  Status status = Status::incomplete;
  std::size_t used = 0;
  // Bytes that were not there and may still come: the clients send the one-byte body of
  // SET_LOCALITY and RESET_TPMESTABLISHED as one byte (tcti-swtpm) or as a padded structure of
  // four (QEMU). Hand it to the next call.
  std::size_t padding = 0;
  Command command{};
  std::uint32_t argument = 0;  // flags of init, locality, wished buffer size
};

// `padding`: of the request before.
Parsed parse(ByteView buffered, std::size_t padding);

// True if the bytes can be nothing but the padding of the request before: nobody need wait for
// the rest of them.
bool only_padding(ByteView buffered, std::size_t padding);

class Answer {
 public:
  [[nodiscard]] ByteView bytes() const { return ByteView(bytes_).first(size_); }
  static Answer result(std::uint32_t code);
  static Answer capabilities();
  // All of its eight bytes also with a failure: QEMU reads eight whatever the result.
  static Answer established(std::uint32_t code, bool bit);
  static Answer config();       // no key encrypts state files, because there are none
  static Answer buffer_size();  // 4096 always, least and most

 private:
  Answer& u32(std::uint32_t v);
  std::array<std::byte, 16> bytes_{};
  std::size_t size_ = 0;
};

}  // namespace vtpm::channel::swtpm
