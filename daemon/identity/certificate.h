// SPDX-License-Identifier: Apache-2.0
// Parts of certificates, by structure: no text of anybody is ever parsed as OpenSSL's configuration
// syntax. Each gives false if OpenSSL cannot, which is for want of memory alone.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "identity/openssl.h"

namespace vtpm::identity {

// RFC 5280, 4.1.2.5: there is no date on which it ends.
inline constexpr const char* kNoEnd = "99991231235959Z";

// Version 3, a random serial number of 159 bits, valid from now on without end.
bool begin_certificate(X509* certificate);

// One relative distinguished name each; types as dotted numbers, values as UTF-8.
using Attributes = std::vector<std::pair<const char*, std::string>>;
bool add_attributes(X509_NAME* name, const Attributes& attributes);

bool add_basic_constraints(X509* certificate, bool is_authority);  // critical
enum class Usage : std::uint8_t {
  sign_certificates_and_lists,
  sign_for_family,  // the same, and events
  sign,
  key_encipherment,
  key_agreement,
};
bool add_key_usage(X509* certificate, Usage usage);  // critical
// SHA-256 of the key, cut to 160 bits (RFC 7093, method 1).
bool add_subject_key_id(X509* certificate);
// That of `issuer`, which has one.
OwnedBy<AUTHORITY_KEYID, AUTHORITY_KEYID_free> authority_key_id(X509* issuer);
bool add_authority_key_id(X509* certificate, X509* issuer);
// Where the issuer's revocation list is: a CRL distribution point. ASCII.
bool add_list_url(X509* certificate, const std::string& url);
bool add_extended_key_usage(X509* certificate, const char* purpose);
// A directoryName as the only alternative name, critical, as the subject is empty.
bool add_directory_name(X509* certificate, const Attributes& attributes);
// Not critical; `content` is DER.
bool add_raw_extension(X509* certificate, const char* type, ByteView content);
// Attribute TPMSpecification of the subject directory attributes: family "2.0".
bool add_tpm_specification(X509* certificate, std::uint32_t level, std::uint32_t revision);

// Values of DER with less than 128 bytes of content. An integer: none if memory is wanting.
Bytes der(std::uint8_t tag, ByteView content);
Bytes der_integer(std::uint64_t value);

}  // namespace vtpm::identity
