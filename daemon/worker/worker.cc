// SPDX-License-Identifier: Apache-2.0
#include "worker/worker.h"

#include <malloc.h>
#include <sysexits.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/log.h"
#include "channel/channel.h"
#include "engine/copied_state.h"
#include "engine/engine.h"
#include "engine/state_blob.h"
#include "frame/frame.h"
#include "journal/journal.h"
#include "policy/policy.h"
#include "privsep/fork_server.h"
#include "privsep/messages.h"
#include "privsep/sandbox.h"
#include "worker/failure_mode.h"
#include "worker/gate_memory.h"
#include "worker/keeper.h"
#include "worker/manufacture.h"
#include "worker/measure.h"
#include "worker/own_command.h"
#include "worker/platform.h"
#include "worker/refusals.h"

namespace vtpm::worker {
namespace {

class Worker {
 public:
  Worker(int manager, privsep::Start start, std::unique_ptr<engine::Engine> engine,
         std::unique_ptr<channel::Channel> channel, journal::Journal journal, policy::Mode mode)
      : manager_(manager),
        start_(std::move(start)),
        cold_(start_.checkpoint.volatile_state.empty()),
        redo_(std::exchange(start_.checkpoint.redo, {})),
        engine_(std::move(engine)),
        channel_(std::move(channel)),
        gate_(policy::Options{.mode = mode, .linux_hmac = start_.linux_hmac}),
        keeper_(manager_, std::move(journal), *engine_, mode, std::move(start_.checkpoint)),
        refusals_(manager_) {}

  // Power-on, then frame after frame until somebody says stop.
  Result<void> serve();

 private:
  Result<void> boot();
  Result<void> do_again();
  Result<ByteView> answer(const channel::Frame& frame);
  Result<void> control(const channel::Control& request);
  Result<void> read_manager();
  Result<void> handle(const privsep::Message& message);
  Result<void> take_identity(ByteView manufactured);
  Result<void> tell_running(std::uint64_t ticket);
  Result<void> stop(privsep::Stop::How how, bool asked_by_host);
  Result<void> tell_use(bool stays);
  Result<void> send(const privsep::Message& message) {
    return privsep::send_datagram(manager_, encode(message));
  }

  int manager_;  // not owned
  privsep::Start start_;
  bool cold_;                     // no volatile state to resume: the power has just come on
  const std::vector<Redo> redo_;  // by the worker before, after that state was taken
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<channel::Channel> channel_;
  policy::Gate gate_;
  Keeper keeper_;
  Refusals refusals_;
  std::array<std::byte, frame::kHeaderSize> refusal_{};
  std::uint64_t served_ = 0;  // sequence of the last frame
  bool halted_ = false;       // the host's control channel said STOP: no command until INIT
  bool done_ = false;
};

// Power has just come on: does what firmware would, where there is none, and keeps the result.
Result<void> Worker::boot() {
  if (start_.firmware) {
    VTPM_CHECK(engine_->startup_clear());
    if (start_.kind == privsep::DeviceKind::container)
      VTPM_CHECK(close_platform_hierarchy(*engine_));
    VTPM_CHECK(extend_measurements(*engine_, start_.measurements));
  }
  return keeper_.keep_now();
}

// The state was loaded as it was before these commands. Who wrote them down may have been taken
// over, so the gate decides on each again, and what they answer must be what clients were told.
Result<void> Worker::do_again() {
  for (const Redo& redo : redo_) {
    const policy::Decision decision = gate_.decide(redo.command, redo.locality);
    if (!decision.allow || decision.effect != policy::Effect::replayable)
      return fail(ErrorCode::corrupt, "the journal has a command that is not replayable");
    VTPM_TRY(const ByteView reply, engine_->process(redo.command, redo.locality));
    if (!std::ranges::equal(reply, redo.reply))
      return fail(ErrorCode::corrupt, "a command of the journal does not do again what it did");
  }
  return keeper_.keep_now();
}

Result<void> Worker::serve() {
  if (cold_) VTPM_CHECK(boot());
  if (!redo_.empty()) VTPM_CHECK(do_again());
  if (!cold_ && start_.linux_hmac && gate_.mode() == policy::Mode::read_only)
    VTPM_CHECK(find_null_primaries(*engine_, gate_));
  (void)::malloc_trim(0);  // of the memory that starting took
  VTPM_CHECK(send(privsep::Ready{cold_}));
  channel::Reply reply;
  const channel::Reply* pending = nullptr;
  while (!done_) {
    VTPM_TRY(channel::Event event, channel_->exchange(pending));
    pending = nullptr;
    if (const auto* frame = std::get_if<channel::Frame>(&event)) {
      served_ = frame->sequence;
      VTPM_TRY(reply.bytes, answer(*frame));
      reply.sequence = frame->sequence;
      pending = &reply;
    } else if (const auto* request = std::get_if<channel::Control>(&event)) {
      VTPM_CHECK(control(*request));
    } else if (std::holds_alternative<channel::Wake>(event)) {
      VTPM_CHECK(read_manager());
    } else {
      return {};  // fenced by a newer engine, or the device is gone
    }
    // A Stop that came while a commit was open. Before it is obeyed the reply leaves, for it lies
    // in memory of the engine's, which the engine uses again.
    while (auto message = keeper_.take_postponed()) {
      if (pending != nullptr) VTPM_CHECK(channel_->finish(*std::exchange(pending, nullptr)));
      VTPM_CHECK(handle(*message));
    }
  }
  return {};
}

// The life of a command: already done? allowed? executed, kept, answered.
Result<ByteView> Worker::answer(const channel::Frame& frame) {
  if (const auto kept = keeper_.reply_of(frame.sequence)) return *kept;

  policy::Decision decision = gate_.decide(frame.bytes, frame.locality);
  if (decision.reason == policy::Reason::pcr_allocation_changes) {
    VTPM_CHECK(show_pcr_banks(*engine_, gate_));
    decision = gate_.decide(frame.bytes, frame.locality);
  }
  if (!decision.allow) {
    refusals_.report(decision, frame);
    refusal_ = decision.reply;
    return ByteView(refusal_);
  }
  if (halted_) {
    refusal_ = frame::reply_header(frame::kRcFailure);
    return ByteView(refusal_);
  }

  VTPM_TRY(const ByteView reply, engine_->process(frame.bytes, frame.locality));
  const std::uint32_t rc = frame::response_code(reply);
  gate_.observe(frame.bytes, reply);
  // The engine owns the reply's memory and lends it until its next call: patching it in place is
  // what the kept copy and the client must both see.
  gate_.patch_reply(frame.bytes,
                    MutableByteView(const_cast<std::byte*>(reply.data()), reply.size()));

  if (rc == frame::kRcSuccess && decision.code == frame::kCcStartup &&
      start_.kind == privsep::DeviceKind::container) {
    const SecretBytes startup_reply = to_secret(reply);
    VTPM_CHECK(close_platform_hierarchy(*engine_));
    VTPM_CHECK(keeper_.keep(frame, startup_reply, policy::Effect::volatile_state));
    return *keeper_.reply_of(frame.sequence);
  }
  VTPM_CHECK(keeper_.keep(frame, reply, policy::effect_of(decision, rc)));
  return reply;
}

// What only the host may ask, over the socket's control channel.
Result<void> Worker::control(const channel::Control& request) {
  using Kind = channel::Control::Kind;
  switch (request.kind) {
    case Kind::init:
      if (!request.keep_volatile) {
        VTPM_CHECK(engine_->power_cycle());
        VTPM_CHECK(boot());
      }
      halted_ = false;
      return channel_->complete_control(true, false);
    case Kind::stop: halted_ = true; return channel_->complete_control(true, false);
    case Kind::shutdown:
      VTPM_CHECK(channel_->complete_control(true, false));
      return stop(privsep::Stop::How::power_off, true);
    case Kind::established: {
      VTPM_TRY(const bool value, engine_->established());
      return channel_->complete_control(true, value);
    }
    case Kind::reset_established: {
      const auto reset = engine_->reset_established(request.locality);
      return channel_->complete_control(reset.has_value(), false);
    }
  }
  return {};
}

Result<void> Worker::read_manager() {
  for (;;) {
    auto received = privsep::receive_datagram(manager_, true);
    if (!received) {
      if (received.error().code == ErrorCode::busy) return {};
      return tl::unexpected<Error>(std::move(received).error());
    }
    if (received->bytes.empty()) {
      done_ = true;  // the manager is gone; the journal holds all of it
      return {};
    }
    VTPM_TRY(const privsep::Message message, privsep::decode(received->bytes));
    VTPM_CHECK(handle(message));
    if (done_) return {};
  }
}

Result<void> Worker::handle(const privsep::Message& message) {
  if (const auto* order = std::get_if<privsep::Stop>(&message)) {
    const bool stays = order->how == privsep::Stop::How::rest && !channel_->at_rest();
    return stays ? tell_use(true) : stop(order->how, false);
  }
  if (std::holds_alternative<privsep::TellUse>(message)) return tell_use(false);
  if (const auto* identity = std::get_if<privsep::TakeIdentity>(&message))
    return take_identity(identity->manufactured);
  if (const auto* question = std::get_if<privsep::TellRunning>(&message))
    return tell_running(question->ticket);
  // A new manager: no commit is open, or Keeper would have this message.
  if (std::holds_alternative<privsep::Adopt>(message)) return send(privsep::Ready{cold_});
  if (const auto* answer = std::get_if<privsep::Committed>(&message);
      answer != nullptr && keeper_.heard_before(*answer))
    return {};
  return fail(ErrorCode::internal, "the manager sent a message that a worker does not take");
}

// Between two commands, a read-only device becomes read-write. Dead before the store has taken it,
// the device is what it was: its journal is untouched.
Result<void> Worker::take_identity(ByteView manufactured) {
  if (gate_.mode() != policy::Mode::read_only)
    return fail(ErrorCode::internal, "a device that has an identity was given another");
  // The gate has let no key in but, for linux_hmac, one of the NULL hierarchy, which goes on.
  if (!start_.linux_hmac) {
    VTPM_TRY(const auto keys, transient_keys(*engine_));
    for (const std::uint32_t handle : keys) VTPM_CHECK(flush(*engine_, handle));
  }
  // Nobody closes the platform hierarchy of an open device, so whatever it is, a client made it so.
  const bool open = start_.kind == privsep::DeviceKind::open;
  VTPM_CHECK(engine_->take_identity(manufactured,
                                    open ? engine::Platform::opened : engine::Platform::as_it_is));
  VTPM_CHECK(keeper_.keep_as_read_write());
  gate_.set_mode(policy::Mode::read_write);
  return {};
}

Result<void> Worker::tell_running(std::uint64_t ticket) {
  VTPM_TRY(const SecretBytes state, engine_->volatile_state());
  VTPM_TRY(SecretBytes part, engine::take_running_part(state));
  return send(privsep::Running{ticket, std::move(part)});
}

Result<void> Worker::tell_use(bool stays) {
  return send(privsep::Use{served_, !channel_->at_rest(), stays});
}

Result<void> Worker::stop(privsep::Stop::How how, bool asked_by_host) {
  done_ = true;
  if (how == privsep::Stop::How::power_off) {
    // A TPM that was never started refuses Shutdown, and has nothing that it would save.
    (void)engine_->shutdown_clear();
    VTPM_CHECK(keeper_.keep_powered_off());
  }
  // Parking needs nothing: the last checkpoint is complete before each reply.
  return send(privsep::Stopped{keeper_.last_sequence(), asked_by_host});
}

Result<std::unique_ptr<engine::Engine>> start_engine(const privsep::Start& start) {
  engine::StartOptions options;
  if (!start.checkpoint.permanent.empty()) {
    options.origin = engine::Origin::restore;
    options.permanent = start.checkpoint.permanent;
    options.volatile_state = start.checkpoint.volatile_state;
    options.sole_continuation = !start.first_run;
  }
  // Failing closed: a read-write device is never given the public blank state.
  if (start.mode == privsep::DeviceMode::read_write && options.origin == engine::Origin::blank)
    return fail(ErrorCode::corrupt, "a read-write device has no permanent state");
  if (start.mode == privsep::DeviceMode::read_only && options.origin == engine::Origin::restore) {
    VTPM_TRY(const bool blank, engine::is_blank(options.permanent));
    if (!blank) return fail(ErrorCode::corrupt, "the state of a read-only device has an identity");
  }
  return engine::Engine::start(options);
}

// What a device's worker is told first, and the descriptors that came with it.
struct Order {
  privsep::Start start;
  std::vector<UniqueFd> descriptors;
};

Result<void> check_descriptors(const Order& order) {
  const std::size_t journal = order.start.failed ? 0 : 1;
  const std::size_t wanted = journal + (order.start.node == privsep::NodeKind::kernel ? 1 : 2);
  if (order.descriptors.size() != wanted)
    return fail(ErrorCode::internal, "Start has not the descriptors that its node needs");
  return {};
}

// The node's descriptors are the last ones.
std::unique_ptr<channel::Channel> open_channel(Order& order, int manager) {
  UniqueFd last = std::move(order.descriptors.back());
  order.descriptors.pop_back();
  if (order.start.node == privsep::NodeKind::kernel)
    return channel::make_kernel_channel(std::move(last));
  return channel::make_socket_channel(std::move(order.descriptors.back()), std::move(last), manager,
                                      order.start.checkpoint.sequence);
}

Result<std::unique_ptr<Worker>> prepare(Order order, int manager) {
  VTPM_TRY(journal::Journal journal, journal::Journal::map(std::move(order.descriptors.front())));
  // All that it works with is open and mapped. A state comes from a worker that may have been taken
  // over, and libtpms reads it next: so the system calls go first.
  VTPM_CHECK(privsep::enter_sandbox(order.start.node));
  VTPM_TRY(auto engine, start_engine(order.start));
  auto channel = open_channel(order, manager);
  const policy::Mode mode = order.start.mode == privsep::DeviceMode::read_only
                                ? policy::Mode::read_only
                                : policy::Mode::read_write;
  return std::make_unique<Worker>(manager, std::move(order.start), std::move(engine),
                                  std::move(channel), std::move(journal), mode);
}

Result<void> work(int manager) {
  VTPM_CHECK(privsep::harden_worker());
  VTPM_TRY(privsep::Received first, privsep::receive_datagram(manager, false));
  VTPM_TRY(privsep::Message message, privsep::decode(first.bytes));
  first.bytes = SecretBytes();  // wiped: the state is in `message`
  if (const auto* made = std::get_if<privsep::Manufacture>(&message)) {
    VTPM_CHECK(privsep::enter_sandbox(privsep::NodeKind::kernel));
    return manufacture(manager, *made);
  }
  if (const auto* ahead = std::get_if<privsep::MakeAhead>(&message)) {
    privsep::yield_to_others();
    VTPM_CHECK(privsep::enter_sandbox(privsep::NodeKind::kernel));
    return make_ahead(manager, ahead->profile);
  }
  auto* start = std::get_if<privsep::Start>(&message);
  if (start == nullptr)
    return fail(ErrorCode::internal, "the manager's first message tells no worker what to be");
  Order order{std::move(*start), std::move(first.descriptors)};
  VTPM_CHECK(check_descriptors(order));
  if (order.start.failed) {
    VTPM_CHECK(privsep::enter_sandbox(order.start.node));
    return serve_failure(*open_channel(order, manager), manager);
  }
  VTPM_TRY(const auto worker, prepare(std::move(order), manager));
  return worker->serve();
}

}  // namespace

int run(UniqueFd manager) {
  const auto done = work(manager.get());
  if (done) return EX_OK;
  // The manager hears the reason of a failure; the exit status alone says little.
  log::error("worker ends", {{"why", done.error().message}});
  (void)privsep::send_datagram(
      manager.get(), encode(privsep::Message{privsep::Failed{done.error().message}}), {}, true);
  return EX_SOFTWARE;
}

}  // namespace vtpm::worker
