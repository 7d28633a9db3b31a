// SPDX-License-Identifier: Apache-2.0
#include "device/vault.h"

#include <algorithm>
#include <tuple>

#include "device/view.h"

namespace vtpm::device {
namespace {

// Each format covers more of a record than the one before.
constexpr std::uint8_t kWithPark = 2;  // a time of its own for parking
constexpr std::uint8_t kWithRole = 3;
constexpr std::uint8_t kWithLineage = 4;
constexpr std::uint8_t kWithProfile = 5;   // a profile of its own for certificates
constexpr std::uint8_t kWithSnapshot = 6;  // when it was taken
constexpr std::uint8_t kVoucherFormat = kWithSnapshot;

// Is a voucher of this format one for such a record? Of what it does not cover, nothing may be set.
bool covers(std::uint8_t format, const store::Record& record) {
  if (format == 0 || format > kVoucherFormat) return false;
  return (format >= kWithPark || !record.settings.park_after_s) &&
         (format >= kWithRole || record.settings.role == store::Role::device) &&
         (format >= kWithLineage || record.lineage.empty()) &&
         (format >= kWithProfile || record.settings.cert_profile == 0) &&
         (format >= kWithSnapshot || record.taken_us == 0);
}

ByteView tag_of(const Bytes& sealed) {
  return ByteView(sealed).last(std::min(sealed.size(), store::kSealTagSize));
}

// It belongs to its device and to no state of it in particular: the voucher says which one is due.
store::SealContext lineage_context(const Uuid& device) {
  return {.device = device, .kind = store::BlobKind::lineage};
}

// Everything in a record but the voucher. What is added to Record or Settings does not compile here
// until it is named.
Bytes encode(const store::Record& record, std::uint64_t run, std::uint8_t format) {
  const auto& [uuid, settings, version, wrapped_key, state, lineage, powered, failure, taken_us,
               voucher] = record;
  const auto& [name, owner, kind, mode, node, socket_path, linux_hmac, command_timeout_ms,
               detach_timeout_ms, park_after_s, role, cert_profile] = settings;
  const auto& [manager, epoch, generation] = version;
  Bytes out;
  Writer(out)
      .u8(format)
      .u64(run)
      .bytes(uuid.bytes)
      .sized16(as_bytes(name))
      .sized16(as_bytes(owner))
      .u8(kind)
      .u8(mode)
      .u8(node)
      .sized16(as_bytes(socket_path))
      .u8(linux_hmac ? 1 : 0)
      .u32(command_timeout_ms)
      .u32(detach_timeout_ms)
      .sized16(as_bytes(manager))
      .u64(epoch)
      .u64(generation)
      .sized16(wrapped_key)
      .u8(powered ? 1 : 0)
      .sized16(as_bytes(failure))
      .u64(state.epoch)
      .u64(state.generation)
      .sized16(tag_of(state.bytes));
  if (format >= kWithPark) Writer(out).u8(park_after_s ? 1 : 0).u32(park_after_s.value_or(0));
  if (format >= kWithRole) Writer(out).u8(static_cast<std::uint8_t>(role));
  if (format >= kWithLineage) Writer(out).sized16(tag_of(lineage));
  if (format >= kWithProfile) Writer(out).u8(cert_profile);
  if (format >= kWithSnapshot) Writer(out).u64(taken_us);
  return out;
}

}  // namespace

// A voucher: format (1) | run (8) | HMAC-SHA-256 (32).
Result<Bytes> Vault::vouch(const store::Record& record, std::uint64_t run) const {
  VTPM_TRY(const store::Mac mac,
           host_key_.authenticate("record", encode(record, run, kVoucherFormat)));
  Bytes voucher;
  Writer(voucher).u8(kVoucherFormat).u64(run).bytes(mac);
  return voucher;
}

Result<std::uint64_t> Vault::check_voucher(const store::Record& record) const {
  const auto damaged = [](const char* why) {
    return fail(ErrorCode::corrupt, std::string("the record ") + why,
                "'vtpmctl delete' removes the device, or restore the store from a backup");
  };
  if (record.voucher.empty()) return damaged("has no voucher: this vtpmd did not write it");
  Reader reader(record.voucher);
  const std::uint8_t format = reader.u8();
  const std::uint64_t run = reader.u64();
  const ByteView mac = reader.bytes(std::tuple_size_v<store::Mac>);
  if (!reader.done() || !covers(format, record)) return damaged("has a voucher of no known form");
  VTPM_TRY(const store::Mac expected,
           host_key_.authenticate("record", encode(record, run, format)));
  if (!equal_constant_time(mac, expected))
    return damaged("was changed by somebody else, or written under another host key");
  return run;
}

Result<Bytes> Vault::rewrap(const store::Record& record, const store::HostKey& to) const {
  if (record.wrapped_key.empty()) return Bytes{};
  VTPM_TRY(const SecretBytes key, host_key_.unwrap(record.uuid, record.wrapped_key));
  return to.wrap(record.uuid, key);
}

Result<const SecretBytes*> Vault::key_of(const store::Record& record, Bytes& newly_wrapped) {
  if (const auto known = keys_.find(record.uuid); known != keys_.end()) {
    // The store has not taken the key yet: the commit that brought it failed.
    if (record.wrapped_key.empty()) {
      VTPM_TRY(newly_wrapped, host_key_.wrap(record.uuid, known->second));
    }
    return &known->second;
  }
  SecretBytes key;
  if (record.wrapped_key.empty()) {
    VTPM_TRY(key, store::make_device_key());
    VTPM_TRY(newly_wrapped, host_key_.wrap(record.uuid, key));
  } else {
    VTPM_TRY(key, host_key_.unwrap(record.uuid, record.wrapped_key));
  }
  return &(keys_[record.uuid] = std::move(key));
}

Result<std::optional<Checkpoint>> Vault::open(const store::Record& record) {
  if (record.settings.role == store::Role::moved)
    return fail(ErrorCode::failed_precondition, "the device's state is sealed to another host");
  if (record.state.bytes.empty()) {
    const bool retired = record.settings.role == store::Role::retired;
    if (record.version.generation == 0 || is_read_only(record.settings) || retired)
      return std::nullopt;
    return fail(ErrorCode::corrupt, "the record has lost the state that was committed to it");
  }
  if (record.state.generation != record.version.generation)
    return fail(ErrorCode::corrupt, "the record holds a state of an earlier time");
  Bytes unused;
  if (record.wrapped_key.empty())
    return fail(ErrorCode::corrupt, "the record holds a state but no key for it");
  VTPM_TRY(const SecretBytes* key, key_of(record, unused));
  const store::SealContext context{.device = record.uuid,
                                   .epoch = record.state.epoch,
                                   .generation = record.state.generation,
                                   .kind = store::BlobKind::checkpoint};
  VTPM_TRY(const SecretBytes plain, store::unseal(*key, context, record.state.bytes));
  VTPM_TRY(Checkpoint checkpoint, decode_checkpoint(plain));
  return checkpoint;
}

Result<std::optional<SecretBytes>> Vault::open_lineage(const store::Record& record) {
  if (record.lineage.empty()) return std::nullopt;
  if (record.wrapped_key.empty())
    return fail(ErrorCode::corrupt, "the record holds a lineage but no key for it");
  Bytes unused;
  VTPM_TRY(const SecretBytes* key, key_of(record, unused));
  VTPM_TRY(SecretBytes plain, store::unseal(*key, lineage_context(record.uuid), record.lineage));
  return plain;
}

Result<std::optional<identity::Lineage>> Vault::read_lineage(const store::Record& record) {
  VTPM_TRY(const auto plain, open_lineage(record));
  if (!plain) return std::nullopt;
  VTPM_TRY(identity::Lineage lineage, identity::decode_lineage(*plain));
  return lineage;
}

Result<store::Record> Vault::begin(const Uuid& uuid, const store::Settings& settings,
                                   const Checkpoint& state, SecretBytes lineage,
                                   std::uint64_t epoch) {
  store::Record record;
  record.uuid = uuid;
  record.settings = settings;
  record.version.epoch = epoch;
  VTPM_TRY(auto sealed,
           prepare(record, state, {.mode = 0, .lineage = std::move(lineage), .role = {}}));
  record.wrapped_key = std::move(sealed.wrapped_key);
  record.state = std::move(sealed.state);
  record.lineage = std::move(sealed.lineage);
  record.version.generation = record.state.generation;
  return record;
}

Result<Vault::Remains> Vault::retire(const Uuid& uuid, ByteView lineage) {
  VTPM_TRY(const SecretBytes key, store::make_device_key());
  Remains remains;
  VTPM_TRY(remains.wrapped_key, host_key_.wrap(uuid, key));
  VTPM_TRY(remains.lineage, store::seal(key, lineage_context(uuid), lineage));
  return remains;
}

Result<store::Store::CommitRequest> Vault::prepare(const store::Record& record,
                                                   const Checkpoint& checkpoint,
                                                   const Birth& birth) {
  store::Store::CommitRequest request;
  request.mode = birth.mode;
  request.role = birth.role;
  request.uuid = record.uuid;
  request.expected = record.version;
  VTPM_TRY(const SecretBytes* key, key_of(record, request.wrapped_key));
  const store::SealContext context{.device = record.uuid,
                                   .epoch = record.version.epoch,
                                   .generation = record.version.generation + 1,
                                   .kind = store::BlobKind::checkpoint};
  VTPM_TRY(request.state.bytes, store::seal(*key, context, vtpm::encode(checkpoint)));
  if (!birth.lineage.empty()) {
    VTPM_TRY(request.lineage, store::seal(*key, lineage_context(record.uuid), birth.lineage));
  }
  request.state.epoch = context.epoch;
  request.state.generation = context.generation;
  return request;
}

}  // namespace vtpm::device
