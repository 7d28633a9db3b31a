// SPDX-License-Identifier: Apache-2.0
#include "device/identity_maker.h"

#include <utility>

namespace vtpm::device {

IdentityMaker::IdentityMaker(Loop& loop, ForkClient& forks)
    : worker_(loop, forks,
              {.message = [this](const privsep::Message& m) { on_message(m); },
               .died = [this](int status) { on_died(status); }}) {}

Result<void> IdentityMaker::start(NewIdentity identity, const privsep::Manufacture& order,
                                  Done done) {
  VTPM_CHECK(begin(privsep::Message{order}, std::move(done)));
  certified_ = false;
  goes_on_running_ = !order.running.empty();
  identity_ = std::move(identity);
  return {};
}

Result<void> IdentityMaker::start_ahead(privsep::IdentityProfile profile, Done done) {
  VTPM_CHECK(begin(privsep::Message{privsep::MakeAhead{profile}}, std::move(done)));
  certified_ = true;  // nothing is to be
  goes_on_running_ = false;
  return {};
}

// Its messages come by the loop, so after what the caller sets.
Result<void> IdentityMaker::begin(const privsep::Message& order, Done done) {
  if (busy()) return fail(ErrorCode::busy, "an identity is being made", "try again in a moment");
  VTPM_CHECK(worker_.start(order));
  made_ = {};
  done_ = std::move(done);
  return {};
}

void IdentityMaker::on_message(const privsep::Message& message) {
  const auto* keys = std::get_if<privsep::MadeKeys>(&message);
  if (keys != nullptr && !std::exchange(certified_, true)) {
    auto certificates = identity_->certify(*keys);
    if (!certificates) return worker_.kill_for(certificates.error().message);
    // One that does not read is dead, or will be: its death follows.
    if (!worker_.send(*std::move(certificates)))
      worker_.kill_for("it does not take its certificates");
  } else if (const auto* made = std::get_if<privsep::Manufactured>(&message);
             made != nullptr && certified_ && made_.permanent.empty() &&
             made->volatile_state.empty() != goes_on_running_) {
    made_ = *made;
    worker_.expect_end();
  } else if (const auto* failed = std::get_if<privsep::Failed>(&message)) {
    worker_.blame(failed->reason);
  } else {
    worker_.kill_for("it sent a message that does not belong to an identity");
  }
}

void IdentityMaker::on_died(int /*wait_status*/) {
  const Done done = std::exchange(done_, nullptr);
  auto [permanent, volatile_state] = std::exchange(made_, {});
  MadeIdentity made{std::move(permanent), std::move(volatile_state)};
  if (!made.permanent.empty() && identity_) made.lineage = identity::encode(identity_->lineage());
  identity_.reset();
  const std::string& why = worker_.failure();
  if (!made.permanent.empty() && why.empty()) return done(std::move(made));
  done(fail(ErrorCode::io, "no identity was made: " + (why.empty() ? "its worker died" : why)));
}

}  // namespace vtpm::device
