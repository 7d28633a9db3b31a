// SPDX-License-Identifier: Apache-2.0
// Sealed bytes: version (1) | nonce (12, random) | ciphertext | tag (16).
// Associated data: a label for what is sealed | version | what it is bound to (SealContext, or the
// uuid of the device for a wrapped key, or a purpose for a secret of the host). AES-256-GCM as in
// NIST SP 800-38D.
#include "store/sealing.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <memory>

#include "store/private_file.h"

namespace vtpm::store {
namespace {

constexpr std::uint8_t kFormat = 1;
constexpr std::size_t kKeySize = 32;
constexpr std::size_t kNonceSize = 12;
constexpr std::size_t kOverhead = 1 + kNonceSize + kSealTagSize;
constexpr std::size_t kLargestPlain = std::size_t{1}
                                      << 20;  // far below the 2^36 bytes of GCM, fits an int

using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

unsigned char* raw(std::byte* p) { return reinterpret_cast<unsigned char*>(p); }
const unsigned char* raw(const std::byte* p) { return reinterpret_cast<const unsigned char*>(p); }

tl::unexpected<Error> crypto_failed() {
  ERR_clear_error();
  return fail(ErrorCode::internal, "the AES-256-GCM of OpenSSL failed");
}

Result<Bytes> encrypt(ByteView key, ByteView associated, ByteView plain) {
  if (key.size() != kKeySize) return fail(ErrorCode::invalid_argument, "a key has 32 bytes");
  if (plain.size() > kLargestPlain)
    return fail(ErrorCode::too_large, fmt::format("cannot seal {} bytes", plain.size()));
  Bytes out(plain.size() + kOverhead);
  out[0] = std::byte{kFormat};
  std::byte* const nonce = out.data() + 1;
  std::byte* const body = nonce + kNonceSize;
  VTPM_CHECK(fill_random(MutableByteView(nonce, kNonceSize)));
  const CipherContext ctx(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  int n = 0;
  if (!ctx ||
      EVP_EncryptInit_ex(ctx.get(), EVP_aes_256_gcm(), nullptr, raw(key.data()), raw(nonce)) != 1 ||
      EVP_EncryptUpdate(ctx.get(), nullptr, &n, raw(associated.data()),
                        static_cast<int>(associated.size())) != 1 ||
      (!plain.empty() && EVP_EncryptUpdate(ctx.get(), raw(body), &n, raw(plain.data()),
                                           static_cast<int>(plain.size())) != 1) ||
      EVP_EncryptFinal_ex(ctx.get(), raw(body + plain.size()), &n) != 1 ||
      EVP_CIPHER_CTX_ctrl(ctx.get(), EVP_CTRL_GCM_GET_TAG, kSealTagSize,
                          raw(body + plain.size())) != 1)
    return crypto_failed();
  return out;
}

Result<SecretBytes> hmac(ByteView key, ByteView content) {
  SecretBytes out(std::tuple_size_v<Mac>);
  unsigned size = 0;
  if (::HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), raw(content.data()),
             content.size(), raw(out.data()), &size) == nullptr ||
      size != out.size()) {
    ERR_clear_error();
    return fail(ErrorCode::internal, "the HMAC-SHA-256 of OpenSSL failed");
  }
  return out;
}

// One answer for every way not to fit: which part of the check failed is nobody's business.
tl::unexpected<Error> does_not_open(const char* what) {
  return fail(ErrorCode::corrupt,
              fmt::format("{} does not open: it is damaged, or belongs to another device, version "
                          "or host key",
                          what));
}

Result<SecretBytes> decrypt(ByteView key, ByteView associated, ByteView sealed, const char* what) {
  if (key.size() != kKeySize) return fail(ErrorCode::invalid_argument, "a key has 32 bytes");
  if (sealed.size() < kOverhead || sealed.size() > kLargestPlain + kOverhead)
    return does_not_open(what);
  if (sealed[0] != std::byte{kFormat})
    return fail(ErrorCode::unsupported,
                fmt::format("{} has format {}, this vtpmd knows {}", what,
                            std::to_integer<unsigned>(sealed[0]), kFormat),
                "if a newer vtpmd wrote it, upgrade this one; else it is damaged");
  const ByteView nonce = sealed.subspan(1, kNonceSize);
  const ByteView body = sealed.subspan(1 + kNonceSize, sealed.size() - kOverhead);
  std::array<std::byte, kSealTagSize> tag{};
  std::ranges::copy(sealed.last(kSealTagSize), tag.begin());
  SecretBytes plain(body.size());
  const CipherContext ctx(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  int n = 0;
  if (!ctx ||
      EVP_DecryptInit_ex(ctx.get(), EVP_aes_256_gcm(), nullptr, raw(key.data()),
                         raw(nonce.data())) != 1 ||
      EVP_DecryptUpdate(ctx.get(), nullptr, &n, raw(associated.data()),
                        static_cast<int>(associated.size())) != 1 ||
      (!body.empty() && EVP_DecryptUpdate(ctx.get(), raw(plain.data()), &n, raw(body.data()),
                                          static_cast<int>(body.size())) != 1) ||
      EVP_CIPHER_CTX_ctrl(ctx.get(), EVP_CTRL_GCM_SET_TAG, kSealTagSize, tag.data()) != 1)
    return crypto_failed();
  std::array<unsigned char, kSealTagSize> none{};  // GCM has no bytes left to give here
  if (EVP_DecryptFinal_ex(ctx.get(), none.data(), &n) != 1) {
    ERR_clear_error();
    return does_not_open(what);
  }
  return plain;
}

Bytes associated_data(const SealContext& context) {
  Bytes out;
  Writer(out)
      .bytes(as_bytes("vtpm sealed blob"))
      .u8(kFormat)
      .bytes(context.device.bytes)
      .u64(context.epoch)
      .u64(context.generation)
      .u8(static_cast<std::uint8_t>(context.kind));
  return out;
}

Bytes associated_data(const Uuid& device) {
  Bytes out;
  Writer(out).bytes(as_bytes("vtpm wrapped key")).u8(kFormat).bytes(device.bytes);
  return out;
}

Bytes associated_data(std::string_view purpose) {
  Bytes out;
  Writer(out).bytes(as_bytes("vtpm sealed secret")).u8(kFormat).bytes(as_bytes(purpose));
  return out;
}

}  // namespace

Result<HostKey> HostKey::random() {
  SecretBytes key(kKeySize);
  VTPM_CHECK(fill_random(key));
  return HostKey(std::move(key));
}

Result<HostKey> HostKey::from_secret(SecretBytes key, const std::string& where) {
  const char* const hint = "restore it from a backup: without it no device of this host opens";
  if (key.size() != kKeySize)
    return fail(ErrorCode::corrupt,
                fmt::format("{} is {} than {} bytes", where,
                            key.size() < kKeySize ? "shorter" : "longer", kKeySize),
                hint);
  if (std::ranges::all_of(key, [](std::byte b) { return b == std::byte{0}; }))
    return fail(ErrorCode::corrupt, fmt::format("{} is all zero", where), hint);
  return HostKey(std::move(key));
}

Result<HostKey> HostKey::from_file(const std::string& path, bool create) {
  auto key = read_private_file(path, kKeySize + 1, "host key");
  if (!key && create && key.error().code == ErrorCode::not_found) {
    VTPM_TRY(const HostKey fresh, random());
    // A key that somebody else put there meanwhile stays: it may already be in use.
    const auto written = write_private_file(path, fresh.secret(), false, "host key");
    if (!written && written.error().code != ErrorCode::exists)
      return tl::unexpected<Error>(written.error());
    key = read_private_file(path, kKeySize + 1, "host key");
  }
  if (!key && key.error().code != ErrorCode::too_large)
    return tl::unexpected<Error>(std::move(key).error());
  return from_secret(key ? *std::move(key) : SecretBytes(kKeySize + 1),
                     fmt::format("host key {}", path));
}

Result<Bytes> HostKey::wrap(const Uuid& device, ByteView device_key) const {
  if (device_key.size() != kKeySize) return fail(ErrorCode::invalid_argument, "a key has 32 bytes");
  return encrypt(key_, associated_data(device), device_key);
}

Result<SecretBytes> HostKey::unwrap(const Uuid& device, ByteView wrapped) const {
  VTPM_TRY(SecretBytes key, decrypt(key_, associated_data(device), wrapped, "wrapped key"));
  if (key.size() != kKeySize) return does_not_open("wrapped key");
  return key;
}

Result<Bytes> HostKey::seal(std::string_view purpose, ByteView secret) const {
  return encrypt(key_, associated_data(purpose), secret);
}

Result<SecretBytes> HostKey::unseal(std::string_view purpose, ByteView sealed) const {
  return decrypt(key_, associated_data(purpose), sealed, "sealed secret");
}

Result<Mac> HostKey::authenticate(std::string_view purpose, ByteView content) const {
  // HMAC as a key derivation: the label keeps this apart from every other use of the host key.
  VTPM_TRY(const SecretBytes key, hmac(key_, as_bytes(fmt::format("vtpm mac key: {}", purpose))));
  VTPM_TRY(const SecretBytes mac, hmac(key, content));
  Mac out{};
  std::ranges::copy(mac, out.begin());
  return out;
}

Result<SecretBytes> make_device_key() {
  SecretBytes key(kKeySize);
  VTPM_CHECK(fill_random(key));
  return key;
}

Result<Bytes> seal(ByteView device_key, const SealContext& context, ByteView plain) {
  return encrypt(device_key, associated_data(context), plain);
}

Result<SecretBytes> unseal(ByteView device_key, const SealContext& context, ByteView sealed) {
  return decrypt(device_key, associated_data(context), sealed, "sealed state");
}

}  // namespace vtpm::store
