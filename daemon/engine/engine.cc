// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <libtpms/tpm_error.h>
#include <libtpms/tpm_library.h>

#include <algorithm>
#include <array>
#include <string>

#include "base/checkpoint.h"
#include "engine/blank_template.h"
#include "engine/clock.h"
#include "engine/libtpms_host.h"
#include "engine/state_blob.h"
#include "engine/transplant.h"
#include "engine/warm_up.h"
#include "frame/frame.h"

namespace vtpm::engine {
namespace {

constexpr std::uint32_t kRcRetry = 0x922;  // TPM_RC_RETRY

constexpr std::array<std::uint8_t, 12> kStartupClear{0x80, 0x01, 0, 0,    0, 0x0c,
                                                     0,    0,    1, 0x44, 0, 0};
constexpr std::array<std::uint8_t, 12> kShutdownClear{0x80, 0x01, 0, 0,    0, 0x0c,
                                                      0,    0,    1, 0x45, 0, 0};

// TPM2_SelfTest of what has not been tested, and TPM2_IncrementalSelfTest of nothing.
constexpr std::array<std::uint8_t, 11> kSelfTestOfTheRest{0x80, 0x01, 0,    0,    0, 0x0b,
                                                          0,    0,    0x01, 0x43, 0};
constexpr std::array<std::uint8_t, 14> kSelfTestOfNothing{0x80, 0x01, 0,    0, 0, 0x0e, 0,
                                                          0,    0x01, 0x42, 0, 0, 0,    0};

bool all_zero(ByteView bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

class LibtpmsEngine final : public Engine {
 public:
  explicit LibtpmsEngine(std::unique_ptr<LibtpmsHost> tpm) : tpm_(std::move(tpm)) {}

  Result<ByteView> process(ByteView command, std::uint8_t locality) override {
    if (is_self_tested() &&
        std::ranges::equal(command, std::as_bytes(std::span(kSelfTestOfTheRest))))
      return test_the_rest(command, locality);
    return execute(command, locality);
  }

  bool take_permanent_changed() override {
    const bool changed = tpm_->take_permanent_changed();
    if (changed) audits_commands_.reset();
    return changed;
  }
  Result<SecretBytes> permanent() override { return to_secret(tpm_->permanent()); }
  Result<void> read_volatile_state(SecretBytes& out) override {
    return tpm_->read_volatile_state(out);
  }
  Result<bool> is_audited(ByteView volatile_state) override {
    VTPM_TRY(const bool audited, counts_commands());
    return audited ? true : has_exclusive_session(volatile_state);
  }
  Result<void> power_cycle() override { return tpm_->power_cycle(); }

  Result<void> startup_clear() override {
    return platform_command(std::as_bytes(std::span(kStartupClear)), "Startup");
  }
  Result<void> shutdown_clear() override {
    return platform_command(std::as_bytes(std::span(kShutdownClear)), "Shutdown");
  }
  Result<void> take_identity(ByteView manufactured, Platform platform) override {
    VTPM_TRY(const SecretBytes running, volatile_state());
    VTPM_TRY(const RunningState state,
             transplant(manufactured, tpm_->permanent(), running, platform));
    audits_commands_.reset();
    tpm_.reset();  // libtpms has one TPM at a time
    VTPM_TRY(tpm_, LibtpmsHost::power_on(state.permanent, state.volatile_state));
    return {};
  }
  Result<bool> established() override { return tpm_->established(); }
  Result<void> reset_established(std::uint8_t locality) override {
    return tpm_->reset_established(locality);
  }

 private:
  Result<ByteView> execute(ByteView command, std::uint8_t locality) {
    VTPM_TRY(ByteView reply, tpm_->process(command, locality));
    // The first command of a boot that is protected against dictionary attacks makes libtpms note
    // in NV that such a use is going on, and ask for the command again.
    if (frame::response_code(reply) == kRcRetry) return tpm_->process(command, locality);
    return reply;
  }
  // Each power-on makes libtpms forget what was tested, and firmware and the kernel's TPM core ask
  // for this once each time: 40 ms for what the warm-up has tested in the memory that this process
  // has from it. libtpms tests each algorithm again before its first use anyway. What an empty list
  // of tests answers tells whether this one is possible: after Startup, and not in failure mode.
  Result<ByteView> test_the_rest(ByteView command, std::uint8_t locality) {
    VTPM_TRY(const bool audited, counts_commands());
    if (audited) return execute(command, locality);  // as what it is
    VTPM_TRY(const ByteView reply,
             tpm_->process(std::as_bytes(std::span(kSelfTestOfNothing)), locality));
    self_test_reply_ = frame::reply_header(frame::response_code(reply));
    return ByteView(self_test_reply_);
  }
  Result<bool> counts_commands() {
    if (!audits_commands_) {
      VTPM_TRY(audits_commands_, audits_commands(tpm_->permanent()));
    }
    return *audits_commands_;
  }
  Result<void> platform_command(ByteView command, const char* name) {
    VTPM_TRY(const ByteView reply, process(command, 0));
    const std::uint32_t rc = frame::response_code(reply);
    if (rc == frame::kRcSuccess || rc == frame::kRcInitialize) return {};
    return fail(ErrorCode::internal,
                std::string("TPM2_") + name + " fails: response code " + std::to_string(rc));
  }

  std::unique_ptr<LibtpmsHost> tpm_;
  std::optional<bool> audits_commands_;  // as the permanent state says; none = not asked since
  std::array<std::byte, frame::kHeaderSize> self_test_reply_{};
};

// A volatile blob is prepared for its resume in a copy.
Result<SecretBytes> prepare_resume(ByteView volatile_state, bool sole_continuation) {
  SecretBytes blob = to_secret(volatile_state);
  VTPM_CHECK(renew_randomness(blob, !sole_continuation));
  // It may be of another boot, on whose clock its time means nothing.
  if (!sole_continuation) VTPM_CHECK(restart_clock(blob, libtpms_clock_ms()));
  VTPM_TRY(const VolatileLayout v, parse_volatile(blob));
  // Startup draws the null proof and the null seed. If they were zero, contexts and policy sessions
  // made by anyone would load here.
  const ByteView view(blob);
  const bool started = view[v.started] != std::byte{0};
  if (started && (all_zero(view.subspan(v.null_proof.offset, v.null_proof.size)) ||
                  all_zero(view.subspan(v.null_seed.offset, v.null_seed.size))))
    return fail(ErrorCode::corrupt, "volatile state: the null proof or the null seed is zero");
  return blob;
}

Result<std::unique_ptr<LibtpmsHost>> restore(const StartOptions& options) {
  if (options.permanent.size() > kMaxPermanentState ||
      options.volatile_state.size() > kMaxVolatileState)
    return fail(ErrorCode::too_large, "a state to restore is over its limit");
  VTPM_CHECK(parse_permanent(options.permanent));
  SecretBytes volatile_state;
  if (!options.volatile_state.empty()) {
    VTPM_TRY(volatile_state, prepare_resume(options.volatile_state, options.sole_continuation));
  }
  return LibtpmsHost::power_on(options.permanent, volatile_state);
}

Result<std::unique_ptr<LibtpmsHost>> power_on(const StartOptions& options) {
  switch (options.origin) {
    case Origin::blank: {
      VTPM_TRY(const ByteView blank, blank_template());
      return LibtpmsHost::power_on(blank, {});
    }
    case Origin::fresh: {
      VTPM_TRY(auto tpm, LibtpmsHost::power_on({}, {}));
      VTPM_TRY(const bool blank, is_blank(tpm->permanent()));  // refuses empty seeds too
      if (blank) return fail(ErrorCode::internal, "libtpms manufactured a TPM without seeds");
      return tpm;
    }
    case Origin::restore: return restore(options);
  }
  return fail(ErrorCode::invalid_argument, "no such origin");
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::start(const StartOptions& options) {
  VTPM_TRY(auto tpm, power_on(options));
  return std::unique_ptr<Engine>(std::make_unique<LibtpmsEngine>(std::move(tpm)));
}

Result<void> Engine::warm_up() { return warm_up_observed(nullptr); }

std::size_t max_permanent_size() {
  int size = 0;
  if (!initialize_libraries() ||
      TPMLIB_GetTPMProperty(TPMPROP_TPM_MAX_NV_SPACE, &size) != TPM_SUCCESS || size <= 0)
    return kMaxPermanentState;
  return static_cast<std::size_t>(size);
}

std::string_view libtpms_version() {
  static const std::string version = [] {
    const std::uint32_t v = TPMLIB_GetVersion();
    return std::to_string(v >> 16) + "." + std::to_string(v >> 8 & 0xff) + "." +
           std::to_string(v & 0xff);
  }();
  return version;
}

}  // namespace vtpm::engine
