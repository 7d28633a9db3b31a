// SPDX-License-Identifier: Apache-2.0
// An HMAC session that is neither salted nor bound, on an object whose authorization is empty: its
// HMAC key is empty, and everything else of it is as it always is (TPM 2.0 Library, Part 1, 19.6).
#pragma once

#include "frames.h"
#include "subject.h"

namespace bench {

class Session {
 public:
  // Of the object with this name. Not started yet, its commands are as long as they will be.
  explicit Session(ByteView object_name = {}) : name_(object_name.begin(), object_name.end()) {}
  void start(Subject& subject);
  void end(Subject& subject) const;

  // TPM2_Unseal of the object, which is loaded under this handle.
  Bytes unseal(std::uint32_t object);
  // Whether the reply to it is authentic; the session goes on from there.
  bool accept(ByteView reply);

 private:
  [[nodiscard]] Bytes hmac_of(ByteView hashed, ByteView newer, ByteView older) const;

  Bytes name_;
  std::uint32_t handle_ = 0;
  Bytes nonce_caller_;
  Bytes nonce_tpm_;
};

}  // namespace bench
