// SPDX-License-Identifier: Apache-2.0
// The certificate authority of the host, as people deal with it.
#include <algorithm>

#include "base/log.h"
#include "device/manager.h"
#include "device/manager_on_loop.h"
#include "identity/pem.h"

namespace vtpm::device {

Result<Manager::Root> Manager::describe_authority() {
  VTPM_TRY(const identity::Authority* const authority, archive_->authority());
  Root root;
  VTPM_TRY(root.description, identity::describe_root(authority->root()));
  const std::vector<Bytes>& chain = authority->chain();
  for (std::size_t i = 0; i + 1 < chain.size(); i++) {
    VTPM_TRY(root.between.emplace_back(), identity::to_pem(chain[i]));
  }
  root.families = authority->families();
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

Result<Manager::Root> Manager::import_authority(const std::string& pem, bool keep_families) {
  VTPM_TRY(const identity::PemContent content, identity::read_pem(pem));
  return on_loop<Root>([this, certificates = content.certificates, keep_families](auto done) {
    const bool any = std::ranges::any_of(
        devices_, [](const auto& device) { return device.second->view().has_identity; });
    if (auto taken = archive_->import_authority(certificates, keep_families || !any); !taken) {
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

}  // namespace vtpm::device
