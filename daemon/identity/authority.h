// SPDX-License-Identifier: Apache-2.0
// Authority: the certificate authority of a host. Its root certificate is what verifiers are given;
// it certifies families, and those the keys of devices (family.h).
#pragma once

#include <cstdint>

#include "identity/family.h"
#include "identity/issuer.h"

namespace vtpm::identity {

class Authority {
 public:
  // A new root: a key of its own and a certificate that it signs itself.
  static Result<Authority> create();
  // From what private_key() and certificate() gave. CORRUPT: they are none, or do not belong
  // together.
  static Result<Authority> load(ByteView private_key, ByteView certificate);

  [[nodiscard]] const SecretBytes& private_key() const { return root_.private_key(); }
  [[nodiscard]] const Bytes& certificate() const { return root_.certificate(); }

  // A new family, with a key of its own.
  [[nodiscard]] Result<Family> found_family() const;
  // How many there were since it was made or loaded.
  [[nodiscard]] std::uint64_t families() const { return families_; }

 private:
  explicit Authority(Issuer root) : root_(std::move(root)) {}

  Issuer root_;
  mutable std::uint64_t families_ = 0;
};

}  // namespace vtpm::identity
