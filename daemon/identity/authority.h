// SPDX-License-Identifier: Apache-2.0
// Authority: the certificate authority of a host. It certifies families, and those the keys of
// devices (family.h). It is a root of its own or an intermediate of the user's; in either case
// verifiers are given the root, which ends its chain.
#pragma once

#include <cstdint>
#include <vector>

#include "identity/family.h"
#include "identity/issuer.h"

namespace vtpm::identity {

class Authority {
 public:
  // A new root: a key of its own and a certificate that it signs itself.
  static Result<Authority> create(const IssuerSubject& subject = {}, std::uint32_t days = 0);
  // From what private_key() and chain() gave. CORRUPT: they are none, or do not belong together.
  // Whether they are valid today is not looked at.
  static Result<Authority> load(ByteView private_key, const std::vector<Bytes>& chain);
  // With the certificate that somebody else's authority gave it, and those above that up to a root:
  // DER, in any order. INVALID_ARGUMENT: verifiers would not accept what it certifies today.
  static Result<Authority> certified(ByteView private_key, const std::vector<Bytes>& certificates);
  // The same two for a key that this process does not have. Of the certificates the first one is
  // its own, and may be the root; `sign` is asked once, so that a wrong key shows now.
  static Result<Authority> load_outside(const std::vector<Bytes>& chain, const SignOutside& sign);
  static Result<Authority> outside(const std::vector<Bytes>& certificates, const SignOutside& sign);

  // Empty if the key is outside.
  [[nodiscard]] const SecretBytes& private_key() const { return issuer_.private_key(); }
  [[nodiscard]] bool key_is_outside() const { return private_key().empty(); }
  // DER, from its own certificate up to the root; one if it is the root itself.
  [[nodiscard]] const std::vector<Bytes>& chain() const { return chain_; }
  [[nodiscard]] const Bytes& root() const { return chain_.back(); }
  // Would what the other one certified be taken as this one's, if it had the same key?
  [[nodiscard]] bool has_name_of(const Authority& other) const;
  [[nodiscard]] bool has_key_of(const Authority& other) const;
  [[nodiscard]] bool issued(ByteView certificate) const { return issuer_.issued(certificate); }

  void publish_lists_at(const std::string& base) { issuer_.publish_lists_at(base); }
  // A new family, with a key of its own.
  [[nodiscard]] Result<Family> found_family() const;

 private:
  Authority(Issuer issuer, std::vector<Bytes> chain)
      : issuer_(std::move(issuer)), chain_(std::move(chain)) {}
  static Result<Authority> with_chain(Issuer issuer, const std::vector<Bytes>& chain);
  static Result<std::vector<Bytes>> acceptable(evp_pkey_st* key,
                                               const std::vector<Bytes>& certificates);
  [[nodiscard]] Result<void> try_family() const;

  Issuer issuer_;
  std::vector<Bytes> chain_;
};

}  // namespace vtpm::identity
