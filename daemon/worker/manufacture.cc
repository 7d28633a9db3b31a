// SPDX-License-Identifier: Apache-2.0
#include "worker/manufacture.h"

#include <algorithm>
#include <vector>

#include "engine/copied_state.h"
#include "engine/engine.h"
#include "frame/frame.h"
#include "frame/lineage.h"
#include "worker/key_templates.h"
#include "worker/lineage_indices.h"
#include "worker/own_command.h"
#include "worker/rebase.h"

namespace vtpm::worker {
namespace {

// TPM_PT: Part 2, 6.13.
constexpr std::uint32_t kPtLevel = 0x101, kPtRevision = 0x102, kPtManufacturer = 0x105,
                        kPtVendorString1 = 0x106, kPtFirmwareVersion1 = 0x10b;

// A certificate's index: written by the platform, which closes it; read by everybody with the empty
// authorization. PPWRITE, WRITEDEFINE, PPREAD, OWNERREAD, AUTHREAD, NO_DA, PLATFORMCREATE.
constexpr std::uint32_t kCertificateAttributes = 0x42072001;
constexpr std::size_t kNvChunk = 1024;  // MAX_NV_BUFFER_SIZE of libtpms

Result<std::uint32_t> property(engine::Engine& engine, std::uint32_t which) {
  VTPM_TRY(const ByteView reply,
           run_own(engine, {frame::kCcGetCapability},
                   capability_parameters(frame::kCapTpmProperties, which, 1)));
  Reader in(reply);
  in.u8();   // moreData
  in.u32();  // capability
  const std::uint32_t count = in.u32();
  const std::uint32_t name = in.u32();
  const std::uint32_t value = in.u32();
  if (!in.done() || count != 1 || name != which)
    return fail(ErrorCode::internal, "the engine does not tell its properties");
  return value;
}

Result<std::string> vendor_string(engine::Engine& engine) {
  std::string text;
  for (std::uint32_t i = 0; i < 4; i++) {
    VTPM_TRY(const std::uint32_t part, property(engine, kPtVendorString1 + i));
    for (int shift = 24; shift >= 0; shift -= 8)
      if (const char c = static_cast<char>(part >> shift & 0xff); c != '\0') text += c;
  }
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

// Where a key that was made ahead waits: where it stays, or at a handle that is free again when its
// certificate is there.
std::uint32_t waiting_place(const KeyTemplate& key) {
  constexpr std::uint32_t kEndorsementKeys = 0x81010000;
  return key.persistent != 0 ? key.persistent : kEndorsementKeys | (key.certificate_index & 0xffff);
}

Result<void> evict(engine::Engine& engine, std::uint32_t handle, std::uint32_t persistent) {
  Bytes where;
  Writer(where).u32(persistent);
  VTPM_CHECK(run_own(engine, {frame::kCcEvictControl, {frame::kRhOwner, handle}, 1}, where));
  return {};
}

Result<Bytes> public_area_in(Reader& reply) {
  Bytes area = to_bytes(reply.sized16());
  if (!reply.ok() || area.empty())
    return fail(ErrorCode::internal, "the engine shows no public area");
  return area;
}

// The public area of a key that was made ahead; it goes if it is not to be kept.
Result<Bytes> take_key(engine::Engine& engine, const KeyTemplate& key) {
  const std::uint32_t place = waiting_place(key);
  VTPM_TRY(const ByteView shown, run_own(engine, {frame::kCcReadPublic, {place}}));
  Reader in(shown);
  VTPM_TRY(Bytes area, public_area_in(in));
  if (key.persistent == 0) VTPM_CHECK(evict(engine, place, place));
  return area;
}

// Makes the key, keeps it if it is to be kept; its public area.
Result<Bytes> make_key(engine::Engine& engine, const KeyTemplate& key) {
  Bytes parameters;
  Writer(parameters)
      .u16(4)  // TPM2B_SENSITIVE_CREATE: neither authorization nor data
      .u16(0)
      .u16(0)
      .sized16(key.public_area)
      .u16(0)
      .u32(0);  // outsideInfo, creationPCR
  VTPM_TRY(const ByteView made,
           run_own(engine, {frame::kCcCreatePrimary, {key.hierarchy}, 1}, parameters));
  Reader in(made);
  const std::uint32_t handle = in.u32();
  in.u32();  // size of the parameters
  VTPM_TRY(Bytes area, public_area_in(in));
  // In a copy, the owner may have something of his own there.
  if (key.persistent != 0 && !holds(engine, key.persistent))
    VTPM_CHECK(evict(engine, handle, key.persistent));
  VTPM_CHECK(flush(engine, handle));
  return area;
}

Result<void> write_certificate(engine::Engine& engine, std::uint32_t index, ByteView certificate) {
  Bytes area;
  Writer(area)
      .u32(index)
      .u16(frame::kAlgSha256)
      .u32(kCertificateAttributes)
      .u16(0)
      .u16(static_cast<std::uint16_t>(certificate.size()));
  Bytes define;
  Writer(define).u16(0).sized16(area);
  VTPM_CHECK(run_own(engine, {frame::kCcNvDefineSpace, {frame::kRhPlatform}, 1}, define));
  for (std::size_t at = 0; at < certificate.size(); at += kNvChunk) {
    Bytes write;
    Writer(write)
        .sized16(certificate.subspan(at, std::min(kNvChunk, certificate.size() - at)))
        .u16(static_cast<std::uint16_t>(at));
    VTPM_CHECK(run_own(engine, {frame::kCcNvWrite, {frame::kRhPlatform, index}, 1}, write));
  }
  VTPM_CHECK(run_own(engine, {frame::kCcNvWriteLock, {frame::kRhPlatform, index}, 1}));
  return {};
}

Result<privsep::MadeKeys> describe(engine::Engine& engine) {
  privsep::MadeKeys made;
  VTPM_TRY(made.manufacturer, property(engine, kPtManufacturer));
  VTPM_TRY(made.model, vendor_string(engine));
  VTPM_TRY(made.firmware_version, property(engine, kPtFirmwareVersion1));
  VTPM_TRY(made.spec_level, property(engine, kPtLevel));
  VTPM_TRY(made.spec_revision, property(engine, kPtRevision));
  return made;
}

Result<privsep::Certificates> have_certified(int manager, const privsep::MadeKeys& made) {
  VTPM_CHECK(privsep::send_datagram(manager, encode(privsep::Message{made})));
  VTPM_TRY(const privsep::Received received, privsep::receive_datagram(manager, false));
  if (received.bytes.empty())
    return fail(ErrorCode::unavailable, "the manager is gone before it has certified the keys");
  VTPM_TRY(privsep::Message message, privsep::decode(received.bytes));
  auto* answer = std::get_if<privsep::Certificates>(&message);
  if (answer == nullptr || answer->certificates.size() != made.keys.size())
    return fail(ErrorCode::internal, "the manager sent no certificates for the keys");
  return std::move(*answer);
}

Result<std::unique_ptr<engine::Engine>> power_on_new() {
  VTPM_TRY(auto tpm, engine::Engine::start({.origin = engine::Origin::fresh}));
  VTPM_CHECK(tpm->startup_clear());
  return tpm;
}

// The attestation key's policy is that of one event.
bool depends_on_event(const KeyTemplate& key) { return key.persistent == frame::kAttestationKey; }

Result<Rebased> begin(const privsep::Manufacture& order) {
  if (!order.copy.empty()) return rebase(order.copy, order.endorsement_seed, order.fresh_storage);
  VTPM_TRY(auto tpm, order.ahead.empty() ? power_on_new() : power_on(order.ahead));
  VTPM_CHECK(define_lineage(*tpm, order.authorization));
  return Rebased{std::move(tpm), {}};
}

// Powered on, with what the copied TPM had running: loaded once, so that whoever serves it can.
Result<void> run_on(privsep::Manufactured& tpm, ByteView running) {
  engine::StartOptions power{.origin = engine::Origin::restore, .permanent = tpm.permanent};
  VTPM_TRY(auto engine, engine::Engine::start(power));
  VTPM_CHECK(engine->startup_clear());
  VTPM_TRY(SecretBytes permanent, engine->permanent());
  VTPM_TRY(const SecretBytes started, engine->volatile_state());
  VTPM_TRY(tpm.volatile_state, engine::put_running_part(started, running));
  engine.reset();
  tpm.permanent = std::move(permanent);
  power.permanent = tpm.permanent;
  power.volatile_state = tpm.volatile_state;
  return engine::Engine::start(power).map([](const auto&) {});
}

}  // namespace

Result<void> manufacture(int manager, const privsep::Manufacture& order) {
  const bool copied = !order.copy.empty();
  const bool storage_is_there = copied && !order.fresh_storage;
  VTPM_TRY(Rebased begun, begin(order));
  const auto& engine = begun.tpm;
  VTPM_CHECK(advance_lineage(*engine, order.authorization, order.event, order.steps));
  VTPM_TRY(privsep::MadeKeys made, describe(*engine));
  std::vector<std::uint32_t> indices;
  for (const KeyTemplate& key : key_templates(order.profile, order.policy)) {
    if (storage_is_there && key.hierarchy == frame::kRhOwner) continue;
    const bool waits = !order.ahead.empty() && !depends_on_event(key);
    VTPM_TRY(Bytes area, waits ? take_key(*engine, key) : make_key(*engine, key));
    if (key.certificate_index == 0) continue;
    made.keys.push_back(std::move(area));
    indices.push_back(key.certificate_index);
  }
  VTPM_TRY(const privsep::Certificates signed_keys, have_certified(manager, made));
  for (std::size_t i = 0; i < indices.size(); i++)
    VTPM_CHECK(write_certificate(*engine, indices[i], signed_keys.certificates[i]));
  VTPM_CHECK(write_certificate(*engine, frame::kCertificateChain, signed_keys.chain));
  VTPM_CHECK(engine->shutdown_clear());
  privsep::Manufactured made_tpm;
  VTPM_TRY(made_tpm.permanent, engine->permanent());
  if (copied) {
    VTPM_TRY(made_tpm.permanent, engine::close_copy(made_tpm.permanent, begun.owner_auth));
    if (!order.predecessor.empty())
      VTPM_CHECK(engine::keep_guesses(made_tpm.permanent, order.predecessor));
    begun.tpm.reset();  // one at a time
    if (!order.running.empty()) VTPM_CHECK(run_on(made_tpm, order.running));
  }
  return privsep::send_datagram(manager, encode(privsep::Message{std::move(made_tpm)}));
}

// Each key waits at a handle, so that its TPM can tell the public area and it need not be made
// again.
Result<void> make_ahead(int manager, privsep::IdentityProfile profile) {
  VTPM_TRY(const auto engine, power_on_new());
  for (KeyTemplate& key : key_templates(profile, {})) {
    if (depends_on_event(key)) continue;
    key.persistent = waiting_place(key);
    VTPM_CHECK(make_key(*engine, key));
  }
  VTPM_CHECK(engine->shutdown_clear());
  VTPM_TRY(SecretBytes permanent, engine->permanent());
  return privsep::send_datagram(
      manager, encode(privsep::Message{privsep::Manufactured{std::move(permanent)}}));
}

}  // namespace vtpm::worker
