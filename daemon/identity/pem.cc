// SPDX-License-Identifier: Apache-2.0
#include "identity/pem.h"

#include <openssl/pem.h>

#include "identity/descent.h"
#include "identity/openssl.h"

namespace vtpm::identity {
namespace {

struct FreeMemory {
  void operator()(void* memory) const { OPENSSL_free(memory); }
};
template <class T>
using Memory = std::unique_ptr<T, FreeMemory>;

constexpr std::size_t kLargestFile = std::size_t{1} << 20;

}  // namespace

Result<std::string> to_pem(ByteView certificate) {
  const auto parsed = from_der<Certificate>(certificate, d2i_X509);
  const Bio out(BIO_new(BIO_s_mem()));
  if (!parsed || !out || PEM_write_bio_X509(out.get(), parsed.get()) != 1)
    return fail_openssl("write a certificate as PEM");
  return text_in(out.get());
}

Result<CertificateSummary> describe_certificate(std::string_view pem) {
  VTPM_TRY(const PemContent content, read_pem(pem));
  if (content.certificates.empty())
    return fail(ErrorCode::invalid_argument, "it holds no certificate");
  const Bytes& der = content.certificates.front();
  const auto parsed = from_der<Certificate>(der, d2i_X509);
  if (!parsed) return fail(ErrorCode::invalid_argument, "its certificate cannot be read");
  CertificateSummary summary;
  VTPM_TRY(summary.sha256, sha256(der));
  if (const auto descent = read_descent(parsed.get())) summary.generation = descent->generation;
  return summary;
}

Result<std::string> key_name(ByteView certificate) {
  const auto parsed = from_der<Certificate>(certificate, d2i_X509);
  EVP_PKEY* const key = parsed ? X509_get0_pubkey(parsed.get()) : nullptr;
  if (key == nullptr) return fail_openssl("read the key of a certificate");
  return (EVP_PKEY_is_a(key, "RSA") == 1 ? "rsa-" : "p-") + std::to_string(EVP_PKEY_get_bits(key));
}

Result<PemContent> read_pem(std::string_view text) {
  if (text.size() > kLargestFile)
    return fail(ErrorCode::too_large, "it is larger than files of certificates are");
  const Bio in(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  if (!in) return fail_openssl("read PEM");
  PemContent content;
  for (;;) {
    char* name = nullptr;
    char* header = nullptr;
    unsigned char* data = nullptr;
    long size = 0;
    if (PEM_read_bio(in.get(), &name, &header, &data, &size) != 1) break;
    const Memory<char> name_owner(name), header_owner(header);
    const Memory<unsigned char> data_owner(data);
    Bytes der(static_cast<std::size_t>(size));
    std::memcpy(der.data(), data, der.size());
    const std::string_view kind(name);
    if (kind == PEM_STRING_X509)
      content.certificates.push_back(std::move(der));
    else if (kind == PEM_STRING_X509_CRL)
      content.lists.push_back(std::move(der));
    else
      return fail(ErrorCode::invalid_argument,
                  "it holds something that is neither certificate nor revocation list");
  }
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end || (content.certificates.empty() && content.lists.empty()))
    return fail(ErrorCode::invalid_argument, "it holds no certificate in PEM that can be read");
  return content;
}

}  // namespace vtpm::identity
