// SPDX-License-Identifier: Apache-2.0
#include "identity/descent.h"

#include <algorithm>

#include "identity/certificate.h"

namespace vtpm::identity {
namespace {

constexpr std::uint8_t kSequence = 0x30, kInteger = 0x02, kOctets = 0x04, kEnumerated = 0x0a;
constexpr std::uint8_t kVersion = 1, kLastKind = 3;

// The content of the next value, if it is of that type; lengths below 128, as all here are.
ByteView content(Reader& in, std::uint8_t tag) {
  if (in.u8() != tag) in.fail();
  const std::uint8_t size = in.u8();
  if (size >= 0x80) in.fail();
  return in.bytes(size);
}

std::uint64_t number(ByteView big_endian, Reader& in) {
  if (big_endian.size() > 8) in.fail();
  std::uint64_t value = 0;
  for (const std::byte byte : big_endian) value = value << 8 | std::to_integer<unsigned>(byte);
  return value;
}

Digest digest(ByteView bytes, Reader& in) {
  Digest out{};
  if (bytes.size() == out.size())
    std::ranges::copy(bytes, out.begin());
  else
    in.fail();
  return out;
}

}  // namespace

Bytes encode(const Descent& descent) {
  Bytes fields;
  Writer out(fields);
  const std::byte kind{descent.kind};
  out.bytes(der_integer(kVersion))
      .bytes(der(kOctets, descent.lineage))
      .bytes(der_integer(descent.generation))
      .bytes(der(kEnumerated, ByteView(&kind, 1)));
  if (descent.parent) out.bytes(der(kOctets, *descent.parent));
  return der(kSequence, fields);
}

Result<Descent> decode_descent(ByteView bytes) {
  Reader outer(bytes);
  Reader in(content(outer, kSequence));
  Descent descent;
  const std::uint64_t version = number(content(in, kInteger), in);
  descent.lineage = digest(content(in, kOctets), in);
  descent.generation = number(content(in, kInteger), in);
  descent.kind = static_cast<std::uint8_t>(number(content(in, kEnumerated), in));
  if (in.ok() && !in.done()) descent.parent = digest(content(in, kOctets), in);
  const bool sound = outer.done() && in.done() && version == kVersion && descent.kind != 0 &&
                     descent.kind <= kLastKind && descent.generation != 0 &&
                     descent.generation <= kLastGeneration &&
                     std::ranges::equal(encode(descent), bytes);
  if (!sound)
    return fail(ErrorCode::invalid_argument,
                "what the certificate says of its device's descent cannot be read");
  return descent;
}

Result<Descent> read_descent(const x509_st* certificate) {
  const OwnedBy<ASN1_OBJECT, ASN1_OBJECT_free> type(OBJ_txt2obj(kDescentExtension, 1));
  const int at = X509_get_ext_by_OBJ(certificate, type.get(), -1);
  if (at < 0 || X509_get_ext_by_OBJ(certificate, type.get(), at) >= 0)
    return fail(ErrorCode::not_found, "the certificate does not say what its device descends from");
  const ASN1_OCTET_STRING* const value = X509_EXTENSION_get_data(X509_get_ext(certificate, at));
  return decode_descent({reinterpret_cast<const std::byte*>(ASN1_STRING_get0_data(value)),
                         static_cast<std::size_t>(ASN1_STRING_length(value))});
}

}  // namespace vtpm::identity
