// SPDX-License-Identifier: Apache-2.0
// format (1) | sized family key | sized family certificate | sized authorization | sized seed bytes
// | number of certificates (1) | sized certificates | sized log, as text; sizes of 2 bytes. Format
// 2 goes on with number of certificates above the family (1), not 0 | sized certificates.
#include "identity/lineage.h"

#include <algorithm>

namespace vtpm::identity {
namespace {

constexpr std::uint8_t kFormat = 1, kFromElsewhere = 2;

}  // namespace

SecretBytes encode(const Lineage& lineage) {
  SecretBytes out;
  SecretWriter writer(out);
  writer.u8(lineage.above.empty() ? kFormat : kFromElsewhere)
      .sized16(lineage.family_key)
      .sized16(lineage.family_certificate)
      .sized16(lineage.authorization)
      .sized16(lineage.seed_bytes)
      .u8(static_cast<std::uint8_t>(lineage.certificates.size()));
  for (const Bytes& certificate : lineage.certificates) writer.sized16(certificate);
  const std::string log = to_text(lineage.log);
  writer.sized16(as_bytes(log));
  if (lineage.above.empty()) return out;
  writer.u8(static_cast<std::uint8_t>(lineage.above.size()));
  for (const Bytes& certificate : lineage.above) writer.sized16(certificate);
  return out;
}

Result<Lineage> decode_lineage(ByteView bytes) {
  Reader in(bytes);
  Lineage lineage;
  const std::uint8_t format = in.u8();
  lineage.family_key = to_secret(in.sized16());
  lineage.family_certificate = to_bytes(in.sized16());
  lineage.authorization = to_secret(in.sized16());
  lineage.seed_bytes = to_secret(in.sized16());
  const std::uint8_t certificates = in.u8();
  for (unsigned i = 0; i < certificates && in.ok(); i++)
    lineage.certificates.push_back(to_bytes(in.sized16()));
  auto log = parse_log(as_text(in.sized16()));
  if (format == kFromElsewhere) {
    const unsigned above = in.u8();
    for (unsigned i = 0; i < above && in.ok(); i++) lineage.above.push_back(to_bytes(in.sized16()));
  }
  if (format < kFormat || format > kFromElsewhere ||
      (format == kFromElsewhere) == lineage.above.empty() || !in.done() || !log || log->empty() ||
      lineage.certificates.empty() || lineage.authorization.size() != kLineageAuthorization)
    return fail(ErrorCode::corrupt, "what the record says of the device's lineage cannot be read",
                "restore the store from a backup, or upgrade vtpmd");
  lineage.log = *std::move(log);
  return lineage;
}

}  // namespace vtpm::identity
