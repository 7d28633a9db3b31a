// SPDX-License-Identifier: Apache-2.0
#include "identity/root_description.h"

#include <openssl/pem.h>

#include <ctime>

#include "identity/openssl.h"

namespace vtpm::identity {
namespace {

bool read_time(const ASN1_TIME* time, std::int64_t& seconds) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return false;
  seconds = ::timegm(&parts);
  return true;
}

}  // namespace

Result<RootDescription> describe_root(ByteView certificate) {
  const unsigned char* at = raw(certificate);
  const Certificate root(d2i_X509(nullptr, &at, static_cast<long>(certificate.size())));
  const Bio pem(BIO_new(BIO_s_mem())), subject(BIO_new(BIO_s_mem()));
  RootDescription out;
  out.sha256.resize(static_cast<std::size_t>(EVP_MD_get_size(EVP_sha256())));
  unsigned size = 0;
  if (!root || !pem || !subject || PEM_write_bio_X509(pem.get(), root.get()) != 1 ||
      X509_NAME_print_ex(subject.get(), X509_get_subject_name(root.get()), 0, XN_FLAG_RFC2253) <
          0 ||
      X509_digest(root.get(), EVP_sha256(), reinterpret_cast<unsigned char*>(out.sha256.data()),
                  &size) != 1 ||
      !read_time(X509_get0_notBefore(root.get()), out.not_before) ||
      !read_time(X509_get0_notAfter(root.get()), out.not_after))
    return fail_openssl("describe a root certificate");
  out.pem = text_in(pem.get());
  out.subject = text_in(subject.get());
  return out;
}

}  // namespace vtpm::identity
