// SPDX-License-Identifier: Apache-2.0
// The parser and patcher of libtpms' state blobs.
//
//   0   UINT8   bit 0: volatile, bit 1: mend its hash first, bit 2: a new commit nonce too
//   1   the blob
#include "engine/state_blob.h"

#include <algorithm>
#include <span>
#include <vector>

#include "check.h"

namespace vtpm::fuzz {
namespace {

using engine::Field;

constexpr std::size_t kHash = 20;

void check_field(ByteView blob, const Field& field) {
  FUZZ_CHECK(field.offset >= 2 && field.offset <= blob.size());
  FUZZ_CHECK(field.size <= blob.size() - field.offset);
  FUZZ_CHECK(load_be16(&blob[field.offset - 2]) == field.size);
}

// In the order in which they are given, and none reaches into the next.
void check_order(std::span<const Field> fields) {
  for (std::size_t i = 1; i < fields.size(); ++i)
    FUZZ_CHECK(fields[i - 1].offset + fields[i - 1].size + 2 <= fields[i].offset);
}

// `b` is `a` but within `fields`.
void check_same_outside(ByteView a, ByteView b, const std::vector<Field>& fields) {
  FUZZ_CHECK(a.size() == b.size());
  std::size_t at = 0;
  for (const Field& field : fields) {
    FUZZ_CHECK(
        std::ranges::equal(a.subspan(at, field.offset - at), b.subspan(at, field.offset - at)));
    at = field.offset + field.size;
  }
  FUZZ_CHECK(std::ranges::equal(a.subspan(at), b.subspan(at)));
}

bool refused(ByteView blob, bool volatile_blob) {
  const Bytes exact = to_bytes(blob);
  return volatile_blob ? !engine::parse_volatile(exact) : !engine::parse_permanent(exact);
}

void permanent(ByteView blob) {
  const auto p = engine::parse_permanent(blob);
  const auto made = engine::make_blank(blob);
  const auto blank = engine::is_blank(blob);
  FUZZ_CHECK(made.has_value() == p.has_value() && blank.has_value() == p.has_value());
  if (!p) return;
  const std::vector<Field> texts = {p->owner_policy, p->endorsement_policy, p->lockout_policy,
                                    p->owner_auth,   p->endorsement_auth,   p->lockout_auth};
  const std::vector<Field> secrets = {p->endorsement_seed, p->storage_seed,  p->platform_seed,
                                      p->platform_proof,   p->storage_proof, p->endorsement_proof,
                                      p->drbg_seed};
  std::vector<Field> all = texts;
  all.insert(all.end(), secrets.begin(), secrets.end());
  for (const Field& field : all) check_field(blob, field);
  check_order(all);
  FUZZ_CHECK(p->total_reset_count + 8 <= p->reset_count && p->reset_count + 4 <= p->orderly_state);
  FUZZ_CHECK(p->pcr_banks.offset < p->orderly_state && p->orderly_state < p->time_epoch.offset);
  FUZZ_CHECK(p->time_epoch.offset < p->next_pcr_banks.offset);
  FUZZ_CHECK(p->next_pcr_banks.offset < p->seed_compat);
  FUZZ_CHECK(p->seed_compat + 3 <= p->clock && p->clock + 8 <= p->drbg_seed.offset);

  check_same_outside(blob, *made, secrets);
  const auto is = engine::is_blank(*made);
  FUZZ_CHECK(is && *is);
  const auto again = engine::make_blank(*made);
  FUZZ_CHECK(again && *again == *made);
  // All that is read is needed.
  FUZZ_CHECK(refused(blob.first(p->drbg_seed.offset + p->drbg_seed.size - 1), false));
}

void volatile_state(Bytes blob, bool mend, bool commit_nonce_too) {
  if (mend) FUZZ_CHECK(engine::rehash_volatile(blob).has_value() == (blob.size() >= kHash));
  const bool sound = engine::volatile_hash_ok(blob);
  if (mend) FUZZ_CHECK(sound == (blob.size() >= kHash));
  const auto v = engine::parse_volatile(blob);
  Bytes renewed = blob;
  const bool done = engine::renew_randomness(renewed, commit_nonce_too).has_value();
  FUZZ_CHECK(done == (sound && v.has_value()));
  if (!done) FUZZ_CHECK(renewed == blob);
  if (!v) return;

  const std::vector<Field> all = {v->drbg_seed,  v->platform_policy, v->platform_auth,
                                  v->null_proof, v->null_seed,       v->commit_nonce};
  for (const Field& field : all) check_field(blob, field);
  check_order(all);
  FUZZ_CHECK(v->started < v->seed_copies && v->seed_copies + 3 * 66 + 4 + kHash <= blob.size());
  if (done) {
    std::vector<Field> changed = {v->drbg_seed};
    if (commit_nonce_too) changed.push_back(v->commit_nonce);
    changed.push_back({blob.size() - kHash, kHash});
    check_same_outside(blob, renewed, changed);
    FUZZ_CHECK(engine::volatile_hash_ok(renewed));
    FUZZ_CHECK(engine::parse_volatile(renewed).has_value());
  }
  // The content fills the blob to its last byte.
  FUZZ_CHECK(refused(ByteView(blob).first(blob.size() - 1), true));
  blob.push_back(std::byte{0});
  FUZZ_CHECK(refused(blob, true));
}

}  // namespace
}  // namespace vtpm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const vtpm::ByteView blob(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  const vtpm::Bytes exact = vtpm::to_bytes(blob);
  if ((data[0] & 1) != 0)
    vtpm::fuzz::volatile_state(exact, (data[0] & 2) != 0, (data[0] & 4) != 0);
  else
    vtpm::fuzz::permanent(exact);
  return 0;
}
