// SPDX-License-Identifier: Apache-2.0
#include "identity/attestation_key.h"

#include <algorithm>

#include "frame/frame.h"
#include "frame/lineage.h"
#include "identity/endorsement_key.h"

namespace vtpm::identity {
namespace {

Result<Bytes> name_of(std::uint32_t index, std::uint32_t attributes, std::size_t size) {
  VTPM_TRY(const Digest digest,
           sha256(frame::lineage_index_area(index, attributes | frame::kNvWritten, size)));
  Bytes name;
  Writer(name).u16(frame::kAlgSha256).bytes(digest);
  return name;
}

// Part 3, 23.9.1: the comparison with `operand` from the first byte on (TPM_EO_EQ) joins the
// policy.
Result<Digest> and_nv_equals(const Digest& policy, ByteView operand, ByteView name) {
  constexpr std::uint32_t kCcPolicyNv = 0x149;
  constexpr std::uint16_t kOffset = 0, kEquals = 0;
  Bytes comparison;
  Writer(comparison).bytes(operand).u16(kOffset).u16(kEquals);
  VTPM_TRY(const Digest arguments, sha256(comparison));
  Bytes next;
  Writer(next).bytes(policy).u32(kCcPolicyNv).bytes(arguments).bytes(name);
  return sha256(next);
}

}  // namespace

Result<Bytes> lineage_name() {
  return name_of(frame::kLineageIndex, frame::kLineageAttributes, frame::kLineageSize);
}
Result<Bytes> generation_name() {
  return name_of(frame::kGenerationIndex, frame::kGenerationAttributes, frame::kGenerationSize);
}

Result<Digest> attestation_policy(const Digest& lineage, std::uint64_t generation) {
  VTPM_TRY(const Bytes name, lineage_name());
  VTPM_TRY(const Digest first, and_nv_equals({}, lineage, name));
  VTPM_TRY(const Bytes counter_name, generation_name());
  Bytes counted;
  Writer(counted).u64(generation);
  return and_nv_equals(first, counted, counter_name);
}

Result<Key> read_attestation_key(ByteView tpmt_public, const Digest& policy) {
  constexpr std::size_t kCoordinate = 32;
  const Bytes head = frame::attestation_key_head(policy);
  Reader reader(tpmt_public);
  const ByteView found = reader.bytes(head.size());
  const ByteView x = reader.sized16(), y = reader.sized16();
  if (!reader.done() || !std::ranges::equal(found, head) || x.size() != kCoordinate ||
      y.size() != kCoordinate)
    return fail(ErrorCode::invalid_argument,
                "this is no attestation key of an identity with this lineage and generation");
  return read_point("P-256", x, y);
}

}  // namespace vtpm::identity
