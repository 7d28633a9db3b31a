// SPDX-License-Identifier: Apache-2.0
#include "device/vault.h"

namespace vtpm::device {

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
  if (record.state.bytes.empty()) {
    if (record.version.generation == 0) return std::nullopt;
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

Result<store::Store::CommitRequest> Vault::prepare(const store::Record& record,
                                                   const Checkpoint& checkpoint) {
  store::Store::CommitRequest request;
  request.uuid = record.uuid;
  request.expected = record.version;
  VTPM_TRY(const SecretBytes* key, key_of(record, request.wrapped_key));
  const store::SealContext context{.device = record.uuid,
                                   .epoch = record.version.epoch,
                                   .generation = record.version.generation + 1,
                                   .kind = store::BlobKind::checkpoint};
  VTPM_TRY(request.state.bytes, store::seal(*key, context, encode(checkpoint)));
  request.state.epoch = context.epoch;
  request.state.generation = context.generation;
  return request;
}

}  // namespace vtpm::device
