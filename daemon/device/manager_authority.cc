// SPDX-License-Identifier: Apache-2.0
// The certificate authority of the host, as people deal with it.
#include <algorithm>

#include "base/log.h"
#include "device/manager.h"
#include "device/manager_on_loop.h"
#include "identity/pem.h"

namespace vtpm::device {
namespace {

// By an authority of this thread's own.
Result<identity::Family> found_outside(const std::vector<Bytes>& chain, const std::string& lists_at,
                                       const identity::SignOutside& sign) {
  VTPM_TRY(identity::Authority authority, identity::Authority::load_outside(chain, sign));
  authority.publish_lists_at(lists_at);
  return authority.found_family();
}

}  // namespace

Result<Manager::Root> Manager::describe_authority() {
  VTPM_TRY(const identity::Authority* const authority, archive_->authority());
  Root root;
  VTPM_TRY(root.description, identity::describe_root(authority->root()));
  const std::vector<Bytes>& chain = authority->chain();
  for (std::size_t i = 0; i + 1 < chain.size(); i++) {
    VTPM_TRY(root.between.emplace_back(), identity::to_pem(chain[i]));
  }
  root.families = families_;
  root.key_is_outside = authority->key_is_outside();
  VTPM_TRY(root.requested, archive_->authority_is_requested());
  return root;
}

Result<Manager::Root> Manager::root_certificate() {
  return on_loop<Root>([this](auto done) { done(describe_authority()); });
}

Result<Manager::Root> Manager::make_authority(const identity::IssuerSubject& subject,
                                              std::uint32_t days) {
  return on_loop<Root>([this, subject, days](auto done) {
    if (auto made = archive_->make_authority(subject, days); !made)
      return done(tl::unexpected<Error>(std::move(made).error()));
    log::notice("the host has a certificate authority of its own");
    done(describe_authority());
  });
}

Result<std::string> Manager::request_authority(const identity::IssuerSubject& subject) {
  return on_loop<std::string>(
      [this, subject](auto done) { done(archive_->request_authority(subject)); });
}

Result<Manager::Root> Manager::import_authority(const std::string& pem, bool keep_families,
                                                bool external_key) {
  VTPM_TRY(const identity::PemContent content, identity::read_pem(pem));
  std::shared_ptr<const identity::Authority> outside;
  if (external_key) {  // its command takes its time: not on the loop
    VTPM_TRY(identity::Authority tried,
             identity::Authority::outside(content.certificates, sign_outside()));
    outside = std::make_shared<const identity::Authority>(std::move(tried));
  }
  return on_loop<Root>([this, certificates = content.certificates, keep_families,
                        outside](auto done) {
    const bool may_replace =
        keep_families || std::ranges::none_of(devices_, [](const auto& device) {
          return device.second->view().has_identity;
        });
    auto taken = outside ? archive_->import_authority(*outside, may_replace)
                         : archive_->import_authority(certificates, may_replace);
    if (!taken) {
      Error error = std::move(taken).error();
      if (error.hint.empty())
        error.hint =
            "nothing has changed: the file needs the certificate for the host's request, all that "
            "are above it, and the root, as PEM";
      return done(tl::unexpected<Error>(std::move(error)));
    }
    log::notice("the certificate authority of the host has another certificate");
    done(describe_authority());
  });
}

identity::SignOutside Manager::sign_outside() const {
  return [command = sign_command_.get()](const identity::SigningRequest& request) {
    auto signature = command->sign(request);
    if (!signature)
      log::error(
          "the host's certificate authority did not sign",
          {{"what", request.what}, {"key", request.key}, {"why", signature.error().message}});
    return signature;
  };
}

void Manager::found_family(const std::weak_ptr<Host::Founded>& wanted) {
  const auto tell = [this, wanted](Result<identity::Family> family) {
    const auto asked = wanted.lock();
    if (!asked) return;
    if (family) families_++;
    (*asked)(std::move(family));
  };
  const auto authority = archive_->authority();
  if (!authority) return tell(tl::unexpected<Error>(authority.error()));
  if (!(*authority)->key_is_outside()) return tell((*authority)->found_family());
  side_->post([tell, wanted, chain = (*authority)->chain(), lists_at = options_.lists_at,
               sign = sign_outside()]() -> Loop::Callback {
    if (wanted.expired()) return {};
    const auto family =
        std::make_shared<Result<identity::Family>>(found_outside(chain, lists_at, sign));
    return [tell, family] { tell(std::move(*family)); };
  });
}

}  // namespace vtpm::device
