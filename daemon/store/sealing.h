// SPDX-License-Identifier: Apache-2.0
// Sealing: AES-256-GCM under a key per device, which a host key wraps.
//
// Associated data binds a blob to its device, epoch, generation and kind, so that a blob moved to
// another record, or put back from an earlier time beside a newer version, does not open.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "base/uuid.h"

namespace vtpm::store {

enum class BlobKind : std::uint8_t { checkpoint = 1, lineage = 2 };

struct SealContext {
  Uuid device;
  std::uint64_t epoch = 0;
  std::uint64_t generation = 0;
  BlobKind kind = BlobKind::checkpoint;
};

using Mac = std::array<std::byte, 32>;

class HostKey {
 public:
  // 32 bytes; made at random (mode 0600) if `create` and the file does not exist. Refuses a file
  // that others may read, and says how to mend it.
  static Result<HostKey> from_file(const std::string& path, bool create);

  static Result<HostKey> random();
  // `where` it comes from, for errors.
  static Result<HostKey> from_secret(SecretBytes key, const std::string& where);
  // For whoever keeps it: a file, a TPM.
  [[nodiscard]] ByteView secret() const { return key_; }

  [[nodiscard]] Result<Bytes> wrap(const Uuid& device, ByteView device_key) const;
  [[nodiscard]] Result<SecretBytes> unwrap(const Uuid& device, ByteView wrapped) const;
  // For secrets of the host itself. Opens for the same purpose only.
  [[nodiscard]] Result<Bytes> seal(std::string_view purpose, ByteView secret) const;
  [[nodiscard]] Result<SecretBytes> unseal(std::string_view purpose, ByteView sealed) const;
  // HMAC-SHA-256 of `content` under a key that is derived from this one for `purpose`: nobody
  // without the host key can make it. The purposes in use are all different words.
  [[nodiscard]] Result<Mac> authenticate(std::string_view purpose, ByteView content) const;

 private:
  explicit HostKey(SecretBytes key) : key_(std::move(key)) {}
  SecretBytes key_;
};

Result<SecretBytes> make_device_key();
// AES-GCM's tag: the last bytes of what seal() gives.
inline constexpr std::size_t kSealTagSize = 16;
Result<Bytes> seal(ByteView device_key, const SealContext& context, ByteView plain);
Result<SecretBytes> unseal(ByteView device_key, const SealContext& context, ByteView sealed);

}  // namespace vtpm::store
