// SPDX-License-Identifier: Apache-2.0
// KeySource: where the host key is kept. A file, a systemd credential, or a file that a TPM of the
// host sealed.
//
// A new key is first kept beside the present one (`next`), then the store is put under it, then it
// takes the place of the old one. Whatever comes in between, one of both opens the store.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "store/sealing.h"

namespace vtpm::device {

class KeySource {
 public:
  virtual ~KeySource() = default;

  // "file:PATH", "PATH", "credential:NAME", "tpm:TCTI"; empty = the file
  // host.key in `state_dir`, where also what a TPM sealed is kept.
  static Result<std::unique_ptr<KeySource>> make(const std::string& spec,
                                                 const std::string& state_dir);

  // Where a key lies that is nothing but a file; empty if the spec names another source.
  static std::string plain_file(const std::string& spec, const std::string& state_dir);

  // NOT_FOUND: there is none.
  virtual Result<store::HostKey> load() = 0;
  virtual Result<store::HostKey> load_next() = 0;
  // A new random key, kept durably as the next one. FAILED_PRECONDITION: this source makes none.
  virtual Result<store::HostKey> make_next() = 0;
  // The next key takes the place of the present one, which is destroyed.
  virtual Result<void> promote() = 0;
  virtual Result<void> drop_next() = 0;
};

}  // namespace vtpm::device
