// SPDX-License-Identifier: Apache-2.0
// HostTpm: the TPM of the host, by way of tpm2-tss (ESYS): a secret sealed to it, and a counter
// that nobody can turn back.
//
// All of it is under the owner hierarchy, whose authorization has to be empty. The storage root key
// is the ECC P-256 primary of the TCG's provisioning guidance, made anew for each connection. Every
// secret crosses the bus under a session that is salted to that key. Blocks as long as the TPM
// takes; a connection is for one thread. tpm2-tss writes to stderr unless TSS2_LOG=all+NONE is set.
// Sources: TPM 2.0 Library Part 1, 19.6 (salted sessions), 21 (parameter encryption), 37.2.4
// (counters).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace vtpm::identity {

class HostTpm {
 public:
  // `tcti` as tpm2-tss writes it: "device:/dev/tpmrm0", "swtpm:path=/run/tpm.sock".
  static Result<HostTpm> connect(const std::string& tcti);
  HostTpm(HostTpm&&) noexcept;
  HostTpm& operator=(HostTpm&&) noexcept;
  ~HostTpm();

  // Bytes that only this TPM opens, by TPM2_Unseal alone. Made so that a copy of them is of no use
  // elsewhere; no PCR is in the policy. At most 128 bytes.
  Result<Bytes> seal(ByteView secret);
  // FAILED_PRECONDITION: another TPM sealed it, or its owner was cleared since.
  Result<SecretBytes> unseal(ByteView sealed);

  // NV counters. NOT_FOUND: there is none; CORRUPT: what is there is no counter of ours.
  Result<std::uint64_t> counter(std::uint32_t index);
  // Begins above every value that a counter of this TPM ever had. EXISTS if it is there.
  Result<std::uint64_t> make_counter(std::uint32_t index);
  Result<std::uint64_t> advance(std::uint32_t index);  // + 1
  Result<void> remove_counter(std::uint32_t index);

 private:
  struct State;
  explicit HostTpm(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace vtpm::identity
