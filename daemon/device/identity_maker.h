// SPDX-License-Identifier: Apache-2.0
// IdentityMaker: has an identity made by a worker of its own, and its keys certified.
//
// The worker is untrusted like any other: the certificates are issued for what it shows, and the
// state that it sends is looked at by nobody but the worker that runs it. Lives on the loop's
// thread; one identity at a time.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "device/new_identity.h"
#include "device/worker_process.h"
#include "privsep/messages.h"

namespace vtpm::device {

// What becomes of a record together.
struct MadeIdentity {
  SecretBytes permanent;         // libtpms permanent state
  SecretBytes volatile_state{};  // of a copy that goes on running; empty = powered off
  SecretBytes lineage{};         // identity::Lineage, encoded
};

class IdentityMaker {
 public:
  // Once for each start(), when the worker is certainly dead: the identity, or why there is none.
  using Done = std::function<void(Result<MadeIdentity>)>;

  IdentityMaker(Loop& loop, ForkClient& forks);

  // `order`: identity.order(), and what more the worker is to know.
  Result<void> start(NewIdentity identity, const privsep::Manufacture& order, Done done);
  // What an identity with this profile can begin with (privsep::MakeAhead): a state, no lineage.
  Result<void> start_ahead(privsep::IdentityProfile profile, Done done);
  // Done follows, with this error.
  void cancel(const std::string& why) { worker_.kill_for(why); }
  [[nodiscard]] bool busy() const { return static_cast<bool>(done_); }

 private:
  Result<void> begin(const privsep::Message& order, Done done);
  void on_message(const privsep::Message& message);
  void on_died(int wait_status);

  Done done_;
  std::optional<NewIdentity> identity_;
  bool certified_ = false;
  bool goes_on_running_ = false;
  privsep::Manufactured made_;
  WorkerProcess worker_;
};

}  // namespace vtpm::device
