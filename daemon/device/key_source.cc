// SPDX-License-Identifier: Apache-2.0
#include "device/key_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "identity/host_tpm.h"
#include "store/private_file.h"
#include "store/store.h"

namespace vtpm::device {
namespace {

using store::HostKey;

constexpr std::size_t kMaxFile = 4096;

// A key in a private file, as it is or as a TPM sealed it.
class KeyFile : public KeySource {
 public:
  explicit KeyFile(std::string path) : path_(std::move(path)) {}

  Result<HostKey> load() override { return read(path_); }
  Result<HostKey> load_next() override { return read(next()); }
  Result<HostKey> make_next() override {
    VTPM_TRY(HostKey key, HostKey::random());
    VTPM_TRY(const SecretBytes content, encode(key));
    VTPM_CHECK(store::write_private_file(next(), content, true, "host key"));
    return key;
  }
  Result<void> promote() override {
    // Held open over the rename: what it holds can be overwritten when it has lost its name.
    const UniqueFd old(::open(path_.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
    if (::rename(next().c_str(), path_.c_str()) != 0)
      return fail_errno("cannot put the new host key at " + path_, errno);
    VTPM_CHECK(store::sync_folder(store::folder_of(path_)));
    if (old) store::overwrite(old.get());
    return {};
  }
  Result<void> drop_next() override {
    const UniqueFd fd(::open(next().c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) return {};
    store::overwrite(fd.get());
    if (::unlink(next().c_str()) != 0)
      return fail_errno("cannot remove the unused host key " + next(), errno);
    return store::sync_folder(store::folder_of(path_));
  }

 protected:
  virtual Result<SecretBytes> encode(const HostKey& key) { return to_secret(key.secret()); }
  virtual Result<HostKey> decode(SecretBytes content, const std::string& path) {
    return HostKey::from_secret(std::move(content), "host key " + path);
  }

 private:
  [[nodiscard]] std::string next() const { return path_ + ".next"; }
  Result<HostKey> read(const std::string& path) {
    VTPM_TRY(SecretBytes content, store::read_private_file(path, kMaxFile, "host key"));
    return decode(std::move(content), path);
  }
  std::string path_;
};

class TpmSealedKey final : public KeyFile {
 public:
  TpmSealedKey(std::string path, std::string tcti)
      : KeyFile(std::move(path)), tcti_(std::move(tcti)) {}

 protected:
  Result<SecretBytes> encode(const HostKey& key) override {
    VTPM_TRY(auto tpm, identity::HostTpm::connect(tcti_));
    VTPM_TRY(const Bytes sealed, tpm.seal(key.secret()));
    return to_secret(sealed);
  }
  Result<HostKey> decode(SecretBytes content, const std::string& path) override {
    VTPM_TRY(auto tpm, identity::HostTpm::connect(tcti_));
    auto key = tpm.unseal(content);
    if (!key)
      return fail(key.error().code, "host key " + path + ": " + key.error().message,
                  key.error().hint);
    return HostKey::from_secret(*std::move(key), "host key " + path);
  }

 private:
  std::string tcti_;
};

// The service manager decrypted it and put it in a folder of its own; nothing here can change it.
class Credential final : public KeySource {
 public:
  explicit Credential(std::string name) : name_(std::move(name)) {}

  Result<HostKey> load() override {
    const char* folder = std::getenv("CREDENTIALS_DIRECTORY");
    if (folder == nullptr)
      return fail(ErrorCode::failed_precondition, "vtpmd was given no credentials",
                  "set LoadCredentialEncrypted=" + name_ + " in a drop-in of vtpmd.service");
    const std::string path = std::string(folder) + "/" + name_;
    // Root's, with an ACL that lets us read; stat() shows that as a right of the group.
    auto content = store::read_private_file(path, kMaxFile, "credential", S_IRGRP);
    if (!content && content.error().code == ErrorCode::not_found)
      return fail(ErrorCode::failed_precondition, "there is no credential " + name_,
                  "make it of 32 random bytes with systemd-creds, and set "
                  "LoadCredentialEncrypted=" +
                      name_ + " in a drop-in of vtpmd.service");
    if (!content) return tl::unexpected<Error>(std::move(content).error());
    return HostKey::from_secret(*std::move(content), "credential " + name_);
  }
  Result<HostKey> load_next() override { return fail(ErrorCode::not_found, "none"); }
  Result<HostKey> make_next() override {
    return fail(ErrorCode::failed_precondition,
                "the host key is a credential: vtpmd cannot make a new one",
                "make a second credential and restart vtpmd with --host-key credential:NEW "
                "--old-host-key credential:" +
                    name_);
  }
  Result<void> promote() override { return fail(ErrorCode::internal, "a credential stays"); }
  Result<void> drop_next() override { return {}; }

 private:
  std::string name_;
};

}  // namespace

Result<std::unique_ptr<KeySource>> KeySource::make(const std::string& spec,
                                                   const std::string& state_dir) {
  const auto rest = [&spec](std::string_view prefix) { return spec.substr(prefix.size()); };
  const auto unclear = [&spec] {
    return fail(ErrorCode::invalid_argument, "host key: '" + spec + "' names nothing",
                "use file:PATH, credential:NAME or tpm:TCTI");
  };
  if (spec.starts_with("tpm:")) {
    if (rest("tpm:").empty()) return unclear();
    return std::make_unique<TpmSealedKey>(state_dir + "/host.key.tpm", rest("tpm:"));
  }
  if (spec.starts_with("credential:")) {
    const std::string name = rest("credential:");
    if (!store::valid_name(name)) return unclear();
    return std::make_unique<Credential>(name);
  }
  const std::string path = plain_file(spec, state_dir);
  if (path.empty()) return unclear();
  return std::make_unique<KeyFile>(path);
}

std::string KeySource::plain_file(const std::string& spec, const std::string& state_dir) {
  if (spec.empty()) return state_dir + "/host.key";
  if (spec.starts_with("tpm:") || spec.starts_with("credential:")) return {};
  return spec.starts_with("file:") ? spec.substr(5) : spec;
}

}  // namespace vtpm::device
