// SPDX-License-Identifier: Apache-2.0
#include "identity/certificate.h"

#include <array>

#include "base/uuid.h"

namespace vtpm::identity {
namespace {

using Object = OwnedBy<ASN1_OBJECT, ASN1_OBJECT_free>;
using Octets = OwnedBy<ASN1_OCTET_STRING, ASN1_OCTET_STRING_free>;
using Integer = OwnedBy<ASN1_INTEGER, ASN1_INTEGER_free>;
using BitString = OwnedBy<ASN1_BIT_STRING, ASN1_BIT_STRING_free>;

constexpr std::size_t kKeyId = 20;

Object object(const char* dotted) { return Object(OBJ_txt2obj(dotted, 1)); }

bool add(X509* certificate, int nid, void* structure, bool critical) {
  return structure != nullptr &&
         X509_add1_ext_i2d(certificate, nid, structure, critical ? 1 : 0, X509V3_ADD_APPEND) == 1;
}

template <class... Parts>
Bytes joined(const Parts&... parts) {
  Bytes out;
  Writer writer(out);
  (writer.bytes(parts), ...);
  return out;
}

}  // namespace

Bytes der(std::uint8_t tag, ByteView content) {
  Bytes out;
  Writer(out).u8(tag).u8(static_cast<std::uint8_t>(content.size())).bytes(content);
  return out;
}

Bytes der_integer(std::uint64_t value) {
  const Integer number(ASN1_INTEGER_new());
  if (!number || ASN1_INTEGER_set_uint64(number.get(), value) != 1) return {};
  return to_der<Bytes>(number.get(), i2d_ASN1_INTEGER);
}

bool begin_certificate(X509* certificate) {
  std::array<std::byte, 20> serial{};
  if (!fill_random(serial)) return false;
  serial[0] &= std::byte{0x7f};
  const Number number(BN_bin2bn(raw(serial), static_cast<int>(serial.size()), nullptr));
  return number &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr &&
         X509_set_version(certificate, X509_VERSION_3) == 1 &&
         X509_gmtime_adj(X509_getm_notBefore(certificate), 0) != nullptr &&
         ASN1_TIME_set_string_X509(X509_getm_notAfter(certificate), kNoEnd) == 1;
}

bool add_attributes(X509_NAME* name, const Attributes& attributes) {
  for (const auto& [type, value] : attributes) {
    const Object id = object(type);
    // UTF8String, but for those that X.520 wants otherwise.
    if (!id || X509_NAME_add_entry_by_OBJ(name, id.get(), MBSTRING_UTF8, raw(as_bytes(value)),
                                          static_cast<int>(value.size()), -1, 0) != 1)
      return false;
  }
  return true;
}

bool add_basic_constraints(X509* certificate, bool is_authority) {
  const OwnedBy<BASIC_CONSTRAINTS, BASIC_CONSTRAINTS_free> constraints(BASIC_CONSTRAINTS_new());
  if (!constraints) return false;
  constraints->ca = is_authority ? 0xff : 0;
  return add(certificate, NID_basic_constraints, constraints.get(), true);
}

bool add_key_usage(X509* certificate, Usage usage) {
  // Bits of KeyUsage, RFC 5280, 4.2.1.3.
  constexpr int kDigitalSignature = 0, kKeyEncipherment = 2, kKeyAgreement = 4, kKeyCertSign = 5,
                kCrlSign = 6;
  const BitString bits(ASN1_BIT_STRING_new());
  if (!bits) return false;
  const auto set = [&bits](int bit) { return ASN1_BIT_STRING_set_bit(bits.get(), bit, 1) == 1; };
  bool done = false;
  switch (usage) {
    case Usage::sign_certificates_and_lists: done = set(kKeyCertSign) && set(kCrlSign); break;
    case Usage::sign_for_family:
      done = set(kDigitalSignature) && set(kKeyCertSign) && set(kCrlSign);
      break;
    case Usage::sign: done = set(kDigitalSignature); break;
    case Usage::key_encipherment: done = set(kKeyEncipherment); break;
    case Usage::key_agreement: done = set(kKeyAgreement); break;
  }
  return done && add(certificate, NID_key_usage, bits.get(), true);
}

bool add_subject_key_id(X509* certificate) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  const Octets id(ASN1_OCTET_STRING_new());
  return id && X509_pubkey_digest(certificate, EVP_sha256(), digest.data(), &size) == 1 &&
         ASN1_OCTET_STRING_set(id.get(), digest.data(), kKeyId) == 1 &&
         add(certificate, NID_subject_key_identifier, id.get(), false);
}

OwnedBy<AUTHORITY_KEYID, AUTHORITY_KEYID_free> authority_key_id(X509* issuer) {
  const ASN1_OCTET_STRING* const id = X509_get0_subject_key_id(issuer);
  OwnedBy<AUTHORITY_KEYID, AUTHORITY_KEYID_free> authority(AUTHORITY_KEYID_new());
  if (id == nullptr || !authority) return nullptr;
  authority->keyid = ASN1_OCTET_STRING_dup(id);
  if (authority->keyid == nullptr) return nullptr;
  return authority;
}

bool add_authority_key_id(X509* certificate, X509* issuer) {
  const auto authority = authority_key_id(issuer);
  return authority && add(certificate, NID_authority_key_identifier, authority.get(), false);
}

bool add_list_url(X509* certificate, const std::string& url) {
  const OwnedBy<CRL_DIST_POINTS, CRL_DIST_POINTS_free> points(CRL_DIST_POINTS_new());
  OwnedBy<DIST_POINT, DIST_POINT_free> point(DIST_POINT_new());
  OwnedBy<GENERAL_NAME, GENERAL_NAME_free> name(GENERAL_NAME_new());
  OwnedBy<ASN1_IA5STRING, ASN1_IA5STRING_free> text(ASN1_IA5STRING_new());
  if (!points || !point || !name || !text ||
      ASN1_STRING_set(text.get(), url.data(), static_cast<int>(url.size())) != 1)
    return false;
  GENERAL_NAME_set0_value(name.get(), GEN_URI, text.release());
  point->distpoint = DIST_POINT_NAME_new();
  if (point->distpoint == nullptr) return false;
  point->distpoint->type = 0;  // fullName
  point->distpoint->name.fullname = sk_GENERAL_NAME_new_reserve(nullptr, 1);
  if (point->distpoint->name.fullname == nullptr) return false;
  sk_GENERAL_NAME_push(point->distpoint->name.fullname, name.release());  // there is room
  if (sk_DIST_POINT_reserve(points.get(), 1) != 1) return false;
  sk_DIST_POINT_push(points.get(), point.release());  // there is room
  return add(certificate, NID_crl_distribution_points, points.get(), false);
}

bool add_extended_key_usage(X509* certificate, const char* purpose) {
  const OwnedBy<EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE_free> usage(EXTENDED_KEY_USAGE_new());
  Object id = object(purpose);
  if (!usage || !id || sk_ASN1_OBJECT_reserve(usage.get(), 1) != 1) return false;
  sk_ASN1_OBJECT_push(usage.get(), id.release());  // there is room
  return add(certificate, NID_ext_key_usage, usage.get(), false);
}

bool add_directory_name(X509* certificate, const Attributes& attributes) {
  const OwnedBy<GENERAL_NAMES, GENERAL_NAMES_free> names(GENERAL_NAMES_new());
  OwnedBy<X509_NAME, X509_NAME_free> directory(X509_NAME_new());
  OwnedBy<GENERAL_NAME, GENERAL_NAME_free> name(GENERAL_NAME_new());
  if (!names || !directory || !name || !add_attributes(directory.get(), attributes)) return false;
  GENERAL_NAME_set0_value(name.get(), GEN_DIRNAME, directory.release());
  if (sk_GENERAL_NAME_reserve(names.get(), 1) != 1) return false;
  sk_GENERAL_NAME_push(names.get(), name.release());  // there is room
  return add(certificate, NID_subject_alt_name, names.get(), true);
}

bool add_tpm_specification(X509* certificate, std::uint32_t level, std::uint32_t revision) {
  constexpr std::uint8_t kSequence = 0x30, kSet = 0x31, kUtf8 = 0x0c;
  const Object type = object("2.23.133.2.16");
  const Bytes type_der = to_der<Bytes>(type.get(), i2d_ASN1_OBJECT);
  const Bytes level_der = der_integer(level), revision_der = der_integer(revision);
  if (type_der.empty() || level_der.empty() || revision_der.empty()) return false;
  const Bytes specification =
      der(kSequence, joined(der(kUtf8, as_bytes("2.0")), level_der, revision_der));
  const Bytes attributes =
      der(kSequence, der(kSequence, joined(type_der, der(kSet, specification))));
  return add_raw_extension(certificate, "2.5.29.9", attributes);
}

bool add_raw_extension(X509* certificate, const char* type, ByteView content) {
  const Object id = object(type);
  const Octets value(ASN1_OCTET_STRING_new());
  if (!id || !value ||
      ASN1_OCTET_STRING_set(value.get(), raw(content), static_cast<int>(content.size())) != 1)
    return false;
  const OwnedBy<X509_EXTENSION, X509_EXTENSION_free> extension(
      X509_EXTENSION_create_by_OBJ(nullptr, id.get(), 0, value.get()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

}  // namespace vtpm::identity
