// SPDX-License-Identifier: Apache-2.0
#include "session.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

namespace bench {
namespace {

constexpr std::size_t kNonceSize = 32;
constexpr std::uint8_t kContinue = 0x01;  // continueSession

const unsigned char* raw(ByteView bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* raw(Bytes& bytes) { return reinterpret_cast<unsigned char*>(bytes.data()); }

Bytes sha256(ByteView bytes) {
  Bytes digest(SHA256_DIGEST_LENGTH);
  if (::SHA256(raw(bytes), bytes.size(), raw(digest)) == nullptr) die("SHA-256 fails");
  return digest;
}

}  // namespace

void Session::start(Subject& subject) {
  nonce_caller_.assign(kNonceSize, std::byte{0x21});
  const ByteView reply = subject.exchange(start_hmac_session(nonce_caller_), 0);
  if (code_of(reply) != 0) die("TPM2_StartAuthSession fails");
  vtpm::Reader in(reply.subspan(kHeaderSize));
  handle_ = in.u32();
  nonce_tpm_ = vtpm::to_bytes(in.sized16());
  if (!in.done()) die("TPM2_StartAuthSession answers what is no reply of it");
}

void Session::end(Subject& subject) const {
  if (code_of(subject.exchange(flush(handle_), 0)) != 0) die("the session cannot be flushed");
}

Bytes Session::hmac_of(ByteView hashed, ByteView newer, ByteView older) const {
  Bytes data;
  vtpm::Writer(data).bytes(hashed).bytes(newer).bytes(older).u8(kContinue);
  Bytes mac(SHA256_DIGEST_LENGTH);
  unsigned int size = 0;
  if (::HMAC(::EVP_sha256(), "", 0, raw(data), data.size(), raw(mac), &size) == nullptr)
    die("HMAC fails");
  return mac;
}

Bytes Session::unseal(std::uint32_t object) {
  nonce_caller_.resize(kNonceSize);
  nonce_caller_[0] = static_cast<std::byte>(std::to_integer<unsigned>(nonce_caller_[0]) + 1);
  Bytes parameters;  // none: the command code and the object's name are all that is hashed
  vtpm::Writer(parameters).u32(kUnseal).bytes(name_);
  const Bytes mac = hmac_of(sha256(parameters), nonce_caller_, nonce_tpm_);
  return command(kUnseal, {object}, authorization(handle_, nonce_caller_, kContinue, mac), {});
}

bool Session::accept(ByteView reply) {
  if (code_of(reply) != 0) return false;
  vtpm::Reader in(reply.subspan(kHeaderSize));
  Bytes answered;
  vtpm::Writer(answered).u32(0).u32(kUnseal).bytes(in.sized32());
  nonce_tpm_ = vtpm::to_bytes(in.sized16());
  const std::uint8_t attributes = in.u8();
  const ByteView mac = in.sized16();
  return in.done() && attributes == kContinue &&
         vtpm::to_bytes(mac) == hmac_of(sha256(answered), nonce_tpm_, nonce_caller_);
}

}  // namespace bench
