// SPDX-License-Identifier: Apache-2.0
// SignCommand: the administrator's command that signs in the place of the host's certificate
// authority, whose key vtpmd does not have (identity/outside_key.h; vtpmd(8), --ca-sign-command).
//
// The command gets what is to be signed as its standard input, a file, and writes the signature to
// its standard output. No shell, no argument; of the environment PATH and what it is to sign:
// VTPM_SIGN_WHAT, VTPM_SIGN_DIGEST and VTPM_SIGN_KEY, as in identity::SigningRequest. All that it
// has started dies with it. Every call may come from any thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "identity/outside_key.h"

namespace vtpm::device {

class SignCommand {
 public:
  static constexpr std::chrono::seconds kLimit{20};
  static constexpr std::size_t kLongestSignature = 2048;  // of RSA with 16384 bits

  // `path`: absolute. Empty: there is no command, and sign() says so. That it is a program which
  // only root or our user can change is looked at whenever it is run.
  static Result<std::unique_ptr<SignCommand>> make(std::string path,
                                                   std::chrono::milliseconds limit = kLimit);

  // What the command wrote. UNAVAILABLE: it cannot be run, failed, or took too long.
  Result<Bytes> sign(const identity::SigningRequest& request) const;
  // Kills those that run; none runs after it.
  void end();

 private:
  SignCommand(std::string path, std::chrono::milliseconds limit, UniqueFd ended)
      : path_(std::move(path)), limit_(limit), ended_(std::move(ended)) {}

  std::string path_;
  std::chrono::milliseconds limit_;
  UniqueFd ended_;  // an eventfd, readable once it is over
};

}  // namespace vtpm::device
