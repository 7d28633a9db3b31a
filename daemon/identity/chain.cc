// SPDX-License-Identifier: Apache-2.0
#include "identity/chain.h"

namespace vtpm::identity {
namespace {

struct FreeStack {
  void operator()(STACK_OF(X509) * stack) const { sk_X509_free(stack); }
};

tl::unexpected<Error> refuse(const std::string& why) {
  ERR_clear_error();
  return fail(ErrorCode::invalid_argument, why);
}

}  // namespace

Result<std::vector<Certificate>> find_chain(X509* leaf, const std::vector<Bytes>& between,
                                            X509* root) {
  const OwnedBy<X509_STORE, X509_STORE_free> trusted(X509_STORE_new());
  const OwnedBy<X509_STORE_CTX, X509_STORE_CTX_free> context(X509_STORE_CTX_new());
  const std::unique_ptr<STACK_OF(X509), FreeStack> untrusted(sk_X509_new_null());
  if (!trusted || !context || !untrusted) return fail_openssl("follow a chain of certificates");
  std::vector<Certificate> parsed;
  for (const Bytes& der : between) {
    parsed.push_back(from_der<Certificate>(der, d2i_X509));
    if (!parsed.back()) return refuse("one of the certificates cannot be read");
    if (sk_X509_push(untrusted.get(), parsed.back().get()) == 0)
      return fail_openssl("follow a chain of certificates");
  }
  if (X509_STORE_add_cert(trusted.get(), root) != 1 ||
      X509_STORE_CTX_init(context.get(), trusted.get(), leaf, untrusted.get()) != 1)
    return fail_openssl("follow a chain of certificates");
  X509_STORE_CTX_set_flags(context.get(), X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
  X509_STORE_CTX_set_depth(context.get(), static_cast<int>(kLongestChain));
  if (X509_verify_cert(context.get()) != 1)
    return refuse(X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get())));
  std::vector<Certificate> chain;
  const STACK_OF(X509)* const found = X509_STORE_CTX_get0_chain(context.get());
  for (int i = 0; i < sk_X509_num(found); i++) {
    X509* const one = sk_X509_value(found, i);
    X509_up_ref(one);
    chain.emplace_back(one);
  }
  if (X509_cmp(chain.back().get(), root) != 0) return refuse("the chain does not end at the root");
  return chain;
}

Result<std::vector<Certificate>> chain_of_key(EVP_PKEY* key, const std::vector<Bytes>& all) {
  Certificate own, root;
  for (const Bytes& der : all) {
    auto parsed = from_der<Certificate>(der, d2i_X509);
    if (!parsed) return refuse("one of the certificates cannot be read");
    EVP_PKEY* const its_key = X509_get0_pubkey(parsed.get());
    if (its_key != nullptr && EVP_PKEY_eq(its_key, key) == 1) {
      if (own) return refuse("two of the certificates are for the key of the request");
      own = std::move(parsed);
    } else if (X509_self_signed(parsed.get(), 1) == 1) {
      if (root) return refuse("two of the certificates are roots");
      root = std::move(parsed);
    }
  }
  if (!own) return refuse("none of the certificates is for the key of the request");
  if (!root && X509_self_signed(own.get(), 1) == 1) {
    X509_up_ref(own.get());
    root.reset(own.get());
  }
  if (!root) return refuse("there is no root among the certificates, which signs itself");
  return find_chain(own.get(), all, root.get());
}

}  // namespace vtpm::identity
