// SPDX-License-Identifier: Apache-2.0
// LibtpmsHost: what libtpms needs around it (callbacks, an order of calls) and gets from it (state
// blobs), as an object. Internal to engine/.
//
// libtpms keeps one TPM in global variables and its callbacks carry no context, so there is one
// LibtpmsHost at a time; a second one is refused. One thread uses it.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/result.h"

namespace vtpm::engine {

// OpenSSL without its configuration file and libtpms's version and callbacks: everything that opens
// a file or cannot be repeated, so that a sandboxed process needs neither. Called by everything
// below; cheap when done already.
Result<void> initialize_libraries();

class LibtpmsHost {
 public:
  // Powers the TPM on: from nothing (empty `permanent`: libtpms manufactures), from a permanent
  // blob, or from both. After a failure libtpms is powered off and clean.
  static Result<std::unique_ptr<LibtpmsHost>> power_on(ByteView permanent, ByteView volatile_state);
  LibtpmsHost(const LibtpmsHost&) = delete;
  LibtpmsHost& operator=(const LibtpmsHost&) = delete;
  ~LibtpmsHost();

  // One command, as it is. The view is valid until the next call.
  Result<ByteView> process(ByteView command, std::uint8_t locality);

  bool take_permanent_changed();
  // What libtpms stored last, or was started from.
  [[nodiscard]] ByteView permanent() const;
  Result<void> read_volatile_state(SecretBytes& out);
  Result<void> power_cycle();
  Result<bool> established();
  Result<void> reset_established(std::uint8_t locality);

 private:
  LibtpmsHost() = default;
  void wipe_reply();
  unsigned char* reply_ = nullptr;  // libtpms allocates and grows it
  std::uint32_t reply_size_ = 0;
  std::uint32_t reply_capacity_ = 0;
  SecretBytes command_;  // libtpms decrypts parameters in place
};

}  // namespace vtpm::engine
