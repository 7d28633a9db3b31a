// SPDX-License-Identifier: Apache-2.0
#include "worker/rebase.h"

#include <algorithm>
#include <array>
#include <vector>

#include "engine/copied_state.h"
#include "frame/frame.h"
#include "worker/own_command.h"

namespace vtpm::worker {
namespace {

constexpr std::uint32_t kPlatformCreate = 0x40000000;  // TPMA_NV, Part 2, 13.4
constexpr std::uint32_t kFirstPersistent = 0x81000000;
constexpr std::uint32_t kEndOfPersistent = 0x82000000;

// Where certificates of keys of the endorsement hierarchy are (TCG Registry of Reserved TPM 2.0
// Handles, 2.2.1): of endorsement keys, and of IDevID and attestation keys.
struct Range {
  std::uint32_t first, end;
};
constexpr std::array kCertificates{Range{0x01c00000, 0x01c08000}, Range{0x01c90000, 0x01ca0000}};

// Every handle in the range that is in use.
Result<std::vector<std::uint32_t>> handles(engine::Engine& tpm, Range range) {
  constexpr std::uint32_t kAtOnce = 64;
  std::vector<std::uint32_t> found;
  for (std::uint32_t from = range.first; from < range.end;) {
    VTPM_TRY(const ByteView reply,
             run_own(tpm, {frame::kCcGetCapability},
                     capability_parameters(frame::kCapHandles, from, kAtOnce)));
    Reader in(reply);
    const bool more = in.u8() != 0;
    in.u32();  // capability
    const std::uint32_t count = in.u32();
    for (std::uint32_t i = 0; i < count && in.ok(); i++) {
      const std::uint32_t handle = in.u32();
      if (handle < from) return fail(ErrorCode::internal, "the engine lists handles in no order");
      if (handle < range.end) found.push_back(handle);
      from = handle + 1;
    }
    if (!in.done()) return fail(ErrorCode::internal, "the engine does not list its handles");
    if (!more || count == 0) break;
  }
  return found;
}

Result<void> remove_certificates(engine::Engine& tpm) {
  for (const Range& range : kCertificates) {
    VTPM_TRY(const auto indices, handles(tpm, range));
    for (const std::uint32_t index : indices) {
      VTPM_TRY(const ByteView reply, run_own(tpm, {frame::kCcNvReadPublic, {index}}));
      Reader in(reply);
      in.u16();  // size
      in.u32();  // index
      in.u16();  // hash algorithm
      const std::uint32_t attributes = in.u32();
      if (!in.ok()) return fail(ErrorCode::internal, "the engine does not describe an NV index");
      // What the owner wrote there is the owner's.
      if ((attributes & kPlatformCreate) == 0) continue;
      VTPM_CHECK(run_own(tpm, {frame::kCcNvUndefineSpace, {frame::kRhPlatform, index}, 1}));
    }
  }
  return {};
}

// The platform may evict every persistent key, whosever it is (Part 3, TPM2_EvictControl).
Result<void> evict_all(engine::Engine& tpm) {
  VTPM_TRY(const auto keys, handles(tpm, {kFirstPersistent, kEndOfPersistent}));
  for (const std::uint32_t key : keys) {
    Bytes where;
    Writer(where).u32(key);
    VTPM_CHECK(run_own(tpm, {frame::kCcEvictControl, {frame::kRhPlatform, key}, 1}, where));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<engine::Engine>> power_on(ByteView permanent) {
  VTPM_TRY(auto tpm,
           engine::Engine::start({.origin = engine::Origin::restore, .permanent = permanent}));
  VTPM_CHECK(tpm->startup_clear());
  return tpm;
}

bool holds(engine::Engine& tpm, std::uint32_t persistent_handle) {
  return run_own(tpm, {frame::kCcReadPublic, {persistent_handle}}).has_value();
}

Result<Rebased> rebase(ByteView copy, ByteView endorsement_seed, bool fresh_storage) {
  VTPM_TRY(engine::OpenedCopy opened, engine::open_copy(copy));
  VTPM_TRY(auto tpm, power_on(opened.permanent));
  // Each replaces seed and proof, and evicts the keys of its hierarchy; ChangeEPS also empties the
  // hierarchy's authorization and policy.
  VTPM_CHECK(run_own(*tpm, {frame::kCcChangeEps, {frame::kRhPlatform}, 1}));
  VTPM_CHECK(run_own(*tpm, {frame::kCcChangePps, {frame::kRhPlatform}, 1}));
  VTPM_CHECK(remove_certificates(*tpm));
  if (fresh_storage) VTPM_CHECK(evict_all(*tpm));
  VTPM_CHECK(tpm->shutdown_clear());
  VTPM_TRY(SecretBytes permanent, tpm->permanent());
  VTPM_CHECK(engine::set_endorsement_seed(permanent, endorsement_seed));
  if (fresh_storage) VTPM_CHECK(engine::renew_storage(permanent));
  tpm.reset();  // one at a time
  VTPM_TRY(tpm, power_on(permanent));
  return Rebased{std::move(tpm), std::move(opened.owner_auth)};
}

}  // namespace vtpm::worker
