// SPDX-License-Identifier: Apache-2.0
// Issuer: a key that certifies others, with the certificate that says so: X.509v3 (RFC 5280), ECDSA
// over P-384 with SHA-384, unless its key is outside of this process (outside_key.h). No I/O: who
// owns one keeps its key. Const calls from one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "identity/outside_key.h"

struct evp_pkey_st;
struct x509_st;
struct X509_crl_st;

namespace vtpm::identity {

// What people say of an issuer of theirs; what is empty is chosen for them.
struct IssuerSubject {
  std::string common_name{};  // 1 to 64 bytes of UTF-8 (X.520), as is the next one
  std::string organization{};
};
inline constexpr std::uint32_t kMostDays = 36500;

class Issuer {
 public:
  // A new key; `what` and a part of its fingerprint are its name. `above` certifies it, without
  // end. `mark`: the type of an extension that says what kind of issuer it is, by being there.
  static Result<Issuer> create(const std::string& what, const Issuer& above,
                               const char* mark = nullptr);
  // One that certifies itself, for so many days; 0: without end.
  static Result<Issuer> create_root(const IssuerSubject& subject, std::uint32_t days);
  // A request (PKCS #10, PEM) for a certificate of this key (DER, PKCS #8), to be an authority.
  static Result<std::string> request(ByteView private_key, const IssuerSubject& subject);
  // Of a new one, as the functions above take it.
  static Result<SecretBytes> new_key();
  // From what private_key() and certificate() gave. CORRUPT: they are none, or do not belong
  // together. Who signed the certificate is not looked at.
  static Result<Issuer> load(ByteView private_key, ByteView certificate);
  // One whose key is elsewhere: `sign` is asked whenever it issues. CORRUPT: as above.
  static Result<Issuer> outside(ByteView certificate, SignOutside sign);
  Issuer(Issuer&&) noexcept;
  Issuer& operator=(Issuer&&) noexcept;
  ~Issuer();

  // DER, PKCS #8; empty if it is outside.
  [[nodiscard]] const SecretBytes& private_key() const { return private_key_; }
  [[nodiscard]] const Bytes& certificate() const { return certificate_; }  // DER
  [[nodiscard]] bool signed_by(const Issuer& other) const;
  // Did it sign this certificate, DER?
  [[nodiscard]] bool issued(ByteView certificate) const;

  // DER of `certificate`, to which it adds who issued it, and a signature.
  [[nodiscard]] Result<Bytes> issue(x509_st* certificate) const;
  // The same for a revocation list (revocation_list.h).
  [[nodiscard]] Result<Bytes> issue(X509_crl_st* list) const;
  // Where its lists are to be found, at the URL BASE/KEY.crl, with its key identifier in
  // hexadecimal: what it issues says so. Empty: nowhere.
  void publish_lists_at(const std::string& base) { lists_at_ = base; }
  // ECDSA with SHA-384, DER.
  [[nodiscard]] Result<Bytes> sign(ByteView message) const;

 private:
  struct Freed {
    void operator()(evp_pkey_st* key) const;
    void operator()(x509_st* certificate) const;
  };
  Issuer() = default;
  template <class T, class SignWith, class Encode>
  [[nodiscard]] Result<Bytes> finish(T* made, const char* what, SignWith sign_with,
                                     Encode encode) const;

  SecretBytes private_key_;
  SignOutside sign_outside_;  // if that is empty
  Bytes certificate_;
  std::string lists_at_;
  std::unique_ptr<evp_pkey_st, Freed> key_;
  std::unique_ptr<x509_st, Freed> own_;
};

}  // namespace vtpm::identity
