// SPDX-License-Identifier: Apache-2.0
// Sealed bytes: version (1) | nonce (12, random) | ciphertext | tag (16).
// Associated data: a label for what is sealed | version | what it is bound to (SealContext, or the
// uuid of the device for a wrapped key). AES-256-GCM as in NIST SP 800-38D.
#include "store/sealing.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "store/private_file.h"

namespace vtpm::store {
namespace {

constexpr std::uint8_t kFormat = 1;
constexpr std::size_t kKeySize = 32;
constexpr std::size_t kNonceSize = 12;
constexpr std::size_t kTagSize = 16;
constexpr std::size_t kOverhead = 1 + kNonceSize + kTagSize;
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
      EVP_CIPHER_CTX_ctrl(ctx.get(), EVP_CTRL_GCM_GET_TAG, kTagSize, raw(body + plain.size())) != 1)
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
  std::array<std::byte, kTagSize> tag{};
  std::ranges::copy(sealed.last(kTagSize), tag.begin());
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
      EVP_CIPHER_CTX_ctrl(ctx.get(), EVP_CTRL_GCM_SET_TAG, kTagSize, tag.data()) != 1)
    return crypto_failed();
  std::array<unsigned char, kTagSize> none{};  // GCM has no bytes left to give here
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

Result<void> write_all(int fd, ByteView bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(fmt::format("cannot write host key {}", path), errno);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

// Writes a new random key beside `path` and moves it there whole. A key that somebody else put
// there meanwhile stays: it may already be in use.
Result<void> create_host_key(const std::string& path) {
  SecretBytes key(kKeySize);
  VTPM_CHECK(fill_random(key));
  std::array<std::byte, 8> suffix{};
  VTPM_CHECK(fill_random(suffix));
  const std::string temporary = fmt::format("{}.new-{}", path, to_hex(suffix));
  VTPM_TRY(const UniqueFd fd,
           open_private_file(temporary, O_WRONLY | O_CREAT | O_EXCL, "new host key"));
  const auto install = [&]() -> Result<void> {
    // Not what the umask left of 0600.
    if (::fchmod(fd.get(), 0600) != 0)
      return fail_errno(fmt::format("cannot set the mode of {}", temporary), errno);
    VTPM_CHECK(write_all(fd.get(), key, temporary));
    if (::fsync(fd.get()) != 0)
      return fail_errno(fmt::format("cannot sync host key {}", temporary), errno);
    if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) != 0)
      return fail_errno(fmt::format("cannot put host key at {}", path), errno);
    return {};
  };
  if (const auto installed = install(); !installed) {
    (void)::unlink(temporary.c_str());
    if (installed.error().code != ErrorCode::exists) return installed;
  }
  return sync_folder(folder_of(path));
}

Result<SecretBytes> read_host_key(const std::string& path) {
  VTPM_TRY(const UniqueFd fd, open_private_file(path, O_RDONLY, "host key"));
  SecretBytes key(kKeySize + 1);  // one more, to see a file that is too long
  std::size_t size = 0;
  while (size < key.size()) {
    const ssize_t n = ::read(fd.get(), key.data() + size, key.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(fmt::format("cannot read host key {}", path), errno);
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
  }
  if (size != kKeySize)
    return fail(ErrorCode::corrupt,
                fmt::format("host key {} is {} than {} bytes", path,
                            size < kKeySize ? "shorter" : "longer", kKeySize),
                "restore it from a backup: without it no device of this host opens");
  key.resize(kKeySize);
  if (std::ranges::all_of(key, [](std::byte b) { return b == std::byte{0}; }))
    return fail(ErrorCode::corrupt, fmt::format("host key {} is all zero", path),
                "restore it from a backup: without it no device of this host opens");
  return key;
}

}  // namespace

Result<HostKey> HostKey::from_file(const std::string& path, bool create) {
  auto key = read_host_key(path);
  if (!key && create && key.error().code == ErrorCode::not_found) {
    VTPM_CHECK(create_host_key(path));
    key = read_host_key(path);
  }
  if (!key) return tl::unexpected<Error>(std::move(key).error());
  return HostKey(*std::move(key));
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
