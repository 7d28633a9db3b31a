// SPDX-License-Identifier: Apache-2.0
// The keys of the host itself, in the note of the store: certificate authorities, and the one that
// other hosts seal to.
#include <utility>

#include "device/archive.h"
#include "identity/hpke.h"

namespace vtpm::device {

Result<identity::Authority> Archive::load_authority(const Note::Authority& noted) const {
  if (noted.key.empty()) return identity::Authority::load_outside(noted.chain, sign_outside_);
  VTPM_TRY(const SecretBytes key, vault_->host_key().unseal(kAuthorityPurpose, noted.key));
  return identity::Authority::load(key, noted.chain);
}

Result<void> Archive::load_authorities(const Note& note) {
  std::vector<identity::Authority> loaded;
  for (const Note::Authority& one : note.authorities) {
    VTPM_TRY(identity::Authority authority, load_authority(one));
    authority.publish_lists_at(lists_at_);
    loaded.push_back(std::move(authority));
  }
  authorities_ = std::move(loaded);
  return {};
}

Result<void> Archive::write_note(const Note& note) {
  VTPM_TRY(Bytes bytes, encode(note, vault_->host_key()));
  return write({}, std::move(bytes));
}

Result<std::vector<const identity::Authority*>> Archive::authorities() {
  if (authorities_.empty()) {
    VTPM_TRY(const Note note, decode_note(note_, vault_->host_key()));
    VTPM_CHECK(load_authorities(note));
  }
  std::vector<const identity::Authority*> all;
  all.reserve(authorities_.size());
  for (const identity::Authority& one : authorities_) all.push_back(&one);
  return all;
}

Result<const identity::Authority*> Archive::authority() {
  VTPM_TRY(const auto all, authorities());
  if (!all.empty()) return all.front();
  VTPM_TRY(const bool requested, authority_is_requested());
  if (requested)
    return fail(ErrorCode::failed_precondition,
                "the certificate authority of this host waits for its certificate",
                "'vtpmctl ca import' takes it; 'vtpmctl ca init' without --csr makes a root "
                "instead");
  VTPM_CHECK(make_authority({}, 0));
  return &authorities_.front();
}

Result<void> Archive::make_authority(const identity::IssuerSubject& subject, std::uint32_t days) {
  VTPM_TRY(const auto all, authorities());
  if (!all.empty())
    return fail(
        ErrorCode::exists, "the host has a certificate authority",
        "'vtpmctl ca show' tells of it; 'vtpmctl ca init --csr FILE' asks for a certificate "
        "that puts the host below your own");
  VTPM_TRY(const identity::Authority made, identity::Authority::create(subject, days));
  const store::HostKey& host_key = vault_->host_key();
  VTPM_TRY(Note note, decode_note(note_, host_key));
  VTPM_TRY(Bytes key, host_key.seal(kAuthorityPurpose, made.private_key()));
  note.requested_key.clear();  // it is the other choice
  note.authorities.push_back({std::move(key), made.chain()});
  VTPM_CHECK(write_note(note));
  return load_authorities(note);
}

Result<bool> Archive::authority_is_requested() const {
  VTPM_TRY(const Note note, decode_note(note_, vault_->host_key()));
  return !note.requested_key.empty();
}

Result<std::string> Archive::request_authority(const identity::IssuerSubject& subject) {
  const store::HostKey& host_key = vault_->host_key();
  VTPM_TRY(Note note, decode_note(note_, host_key));
  SecretBytes key;
  const bool made = note.requested_key.empty();
  if (made) {
    VTPM_TRY(key, identity::Issuer::new_key());
    VTPM_TRY(note.requested_key, host_key.seal(kAuthorityPurpose, key));
  } else {
    VTPM_TRY(key, host_key.unseal(kAuthorityPurpose, note.requested_key));
  }
  VTPM_TRY(std::string request, identity::Issuer::request(key, subject));
  if (made) VTPM_CHECK(write_note(note));
  return request;
}

// A certificate for the key in use is as good as the one before: what it certified stays good.
Result<void> Archive::renew_authority(Note& note, const std::vector<Bytes>& certificates) {
  Note::Authority& used = note.authorities.front();
  if (used.key.empty())
    return fail(ErrorCode::invalid_argument, "the key in use is outside of vtpmd",
                "a certificate for it is imported with --external-key");
  VTPM_TRY(const SecretBytes key, vault_->host_key().unseal(kAuthorityPurpose, used.key));
  VTPM_TRY(const identity::Authority renewed, identity::Authority::certified(key, certificates));
  if (!renewed.has_name_of(authorities_.front()))
    return fail(
        ErrorCode::invalid_argument,
        "the certificate is for the key in use, and has another subject than the one before",
        "have the same subject certified, or ask for a new one: 'vtpmctl ca init --csr'");
  used.chain = renewed.chain();
  return {};
}

Result<void> Archive::import_authority(const std::vector<Bytes>& certificates, bool may_replace) {
  const store::HostKey& host_key = vault_->host_key();
  VTPM_TRY(Note note, decode_note(note_, host_key));
  VTPM_CHECK(authorities());
  if (note.requested_key.empty() && note.authorities.empty())
    return fail(ErrorCode::failed_precondition, "this host has asked for no certificate",
                "'vtpmctl ca init --csr FILE' writes the request");
  Result<void> renewed = fail(ErrorCode::not_found, "");
  if (!note.authorities.empty()) renewed = renew_authority(note, certificates);
  if (!renewed && note.requested_key.empty()) return renewed;
  if (!renewed) {
    VTPM_TRY(const SecretBytes key, host_key.unseal(kAuthorityPurpose, note.requested_key));
    VTPM_TRY(const identity::Authority made, identity::Authority::certified(key, certificates));
    Bytes sealed = std::move(note.requested_key);
    return replace_authority(std::move(note), {std::move(sealed), made.chain()}, may_replace);
  }
  VTPM_CHECK(write_note(note));
  return load_authorities(note);
}

Result<void> Archive::import_authority(const identity::Authority& outside, bool may_replace) {
  VTPM_TRY(Note note, decode_note(note_, vault_->host_key()));
  VTPM_CHECK(authorities());
  const bool renewed = !note.authorities.empty() && note.authorities.front().key.empty() &&
                       authorities_.front().has_name_of(outside) &&
                       authorities_.front().has_key_of(outside);
  if (!renewed) return replace_authority(std::move(note), {{}, outside.chain()}, may_replace);
  note.authorities.front().chain = outside.chain();
  VTPM_CHECK(write_note(note));
  return load_authorities(note);
}

Result<void> Archive::replace_authority(Note note, Note::Authority authority, bool may_replace) {
  if (!may_replace)
    return fail(ErrorCode::failed_precondition,
                "this host has families under the authority that it had so far",
                "'--keep-families' leaves them there: who verifies them needs its root, who "
                "verifies later ones the new one");
  if (note.authorities.size() >= kMostAuthorities)
    return fail(ErrorCode::failed_precondition, "this host had too many authorities already");
  note.requested_key.clear();  // it was asked for, or it is the other choice
  note.authorities.insert(note.authorities.begin(), std::move(authority));
  VTPM_CHECK(write_note(note));
  return load_authorities(note);
}

Result<SecretBytes> Archive::exchange_key() {
  const store::HostKey& host_key = vault_->host_key();
  VTPM_TRY(Note note, decode_note(note_, host_key));
  if (!note.exchange_key.empty()) return host_key.unseal(kExchangePurpose, note.exchange_key);
  VTPM_TRY(SecretBytes key, identity::make_exchange_key());
  VTPM_TRY(note.exchange_key, host_key.seal(kExchangePurpose, key));
  VTPM_CHECK(write_note(note));
  return key;
}

}  // namespace vtpm::device
