// SPDX-License-Identifier: Apache-2.0
#include "identity/withdrawal.h"

#include <utility>

namespace vtpm::identity {
namespace {

constexpr std::uint8_t kFormat = 1;

CertificateId read_id(Reader& in) {
  CertificateId id;
  id.issuer_key = to_bytes(in.sized16());
  id.serial = to_bytes(in.sized16());
  return id;
}

}  // namespace

Result<Withdrawal> withdraw(const Lineage& lineage, Revoked::Reason reason, std::int64_t time) {
  Withdrawal out{
      .time = time, .reason = reason, .family_key = {}, .family = {}, .certificates = {}};
  VTPM_TRY(out.family_key, key_id_of(lineage.family_certificate));
  VTPM_TRY(out.family, id_of(lineage.family_certificate));
  for (const Bytes& certificate : lineage.certificates) {
    VTPM_TRY(out.certificates.emplace_back(), id_of(certificate));
  }
  return out;
}

Bytes encode(const Withdrawal& withdrawal) {
  Bytes out;
  Writer writer(out);
  writer.u8(kFormat)
      .u64(static_cast<std::uint64_t>(withdrawal.time))
      .u8(static_cast<std::uint8_t>(withdrawal.reason))
      .sized16(withdrawal.family_key)
      .sized16(withdrawal.family.issuer_key)
      .sized16(withdrawal.family.serial)
      .u8(static_cast<std::uint8_t>(withdrawal.certificates.size()));
  for (const CertificateId& id : withdrawal.certificates)
    writer.sized16(id.issuer_key).sized16(id.serial);
  return out;
}

Result<Withdrawal> decode_withdrawal(ByteView bytes) {
  Reader in(bytes);
  Withdrawal out;
  const bool known = in.u8() == kFormat;
  out.time = static_cast<std::int64_t>(in.u64());
  const std::uint8_t reason = in.u8();
  out.reason = static_cast<Revoked::Reason>(reason);
  out.family_key = to_bytes(in.sized16());
  out.family = read_id(in);
  const unsigned certificates = in.u8();
  for (unsigned i = 0; i < certificates && in.ok(); i++) out.certificates.push_back(read_id(in));
  const bool sound = out.reason == Revoked::Reason::superseded ||
                     out.reason == Revoked::Reason::cessation_of_operation;
  if (!known || !in.done() || !sound)
    return fail(ErrorCode::corrupt, "what the store kept of a device that is gone cannot be read",
                "restore the store from a backup, or upgrade vtpmd");
  return out;
}

}  // namespace vtpm::identity
