// SPDX-License-Identifier: Apache-2.0
// libtpms in this process, without a gate: what the gate's tests measure against.
// libtpms is one TPM a process, so there is at most one Tpm at a time.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "base/bytes.h"

namespace vtpm::gate_test {

class Tpm {
 public:
  static std::unique_ptr<Tpm> manufacture();                 // random seeds
  static std::unique_ptr<Tpm> blank();                       // seeds and proofs of 64 zero bytes
  static std::unique_ptr<Tpm> from(const Bytes& permanent);  // after a power cut
  Tpm(const Tpm&) = delete;
  Tpm& operator=(const Tpm&) = delete;
  ~Tpm();

  Bytes run(ByteView frame);
  void startup();
  [[nodiscard]] Bytes permanent() const;
  [[nodiscard]] Bytes volatile_state() const;

 private:
  explicit Tpm(const Bytes& permanent);
};

// Offsets of the six seeds and proofs in a permanent state; each is a TPM2B of 64 bytes.
std::array<std::size_t, 6> find_secrets(ByteView permanent);
bool holds_no_secret(ByteView permanent);

}  // namespace vtpm::gate_test
