// SPDX-License-Identifier: Apache-2.0
// IdentityMaker: has an identity made by a worker of its own, and its keys certified.
//
// The worker is untrusted like any other: the certificates are issued for what it shows, and the
// state that it sends is looked at by nobody but the worker that runs it. Lives on the loop's
// thread; one identity at a time.
#pragma once

#include <functional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "device/worker_process.h"
#include "privsep/messages.h"

namespace vtpm::device {

class IdentityMaker {
 public:
  // X.509 certificates for the keys of a device, DER, in their order.
  using Certify =
      std::function<Result<std::vector<Bytes>>(const Uuid& device, const privsep::MadeKeys&)>;
  // Once for each start(), when the worker is certainly dead: the permanent state, or why not.
  using Done = std::function<void(Result<SecretBytes>)>;

  IdentityMaker(Loop& loop, ForkClient& forks, Certify certify);

  Result<void> start(const Uuid& device, privsep::IdentityProfile profile, Done done);
  // Done follows, with this error.
  void cancel(const std::string& why) { worker_.kill_for(why); }
  [[nodiscard]] bool busy() const { return static_cast<bool>(done_); }

 private:
  void on_message(const privsep::Message& message);
  void on_died(int wait_status);

  Certify certify_;
  Done done_;
  Uuid device_;
  bool certified_ = false;
  SecretBytes made_;
  WorkerProcess worker_;
};

}  // namespace vtpm::device
