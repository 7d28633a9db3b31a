// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "frame/commands.h"
#include "policy/conditions.h"
#include "policy/policy.h"
#include "policy/rules.h"

namespace vtpm::policy {
namespace {

constexpr std::uint32_t kPtStartupClear = 0x201;
constexpr std::uint32_t kStartupClearReadOnly = 1U << 4;  // TPMA_STARTUP_CLEAR, V184

Decision allow(std::uint32_t code, Effect effect) {
  Decision decision;
  decision.allow = true;
  decision.code = code;
  decision.effect = effect;
  return decision;
}

Decision refuse(Reason reason, std::uint32_t rc, std::uint32_t code) {
  Decision decision;
  decision.reason = reason;
  decision.rc = rc;
  decision.code = code;
  decision.reply = frame::reply_header(rc);
  return decision;
}

bool header_malformed(frame::Malformed what) {
  return what == frame::Malformed::too_short || what == frame::Malformed::size_mismatch ||
         what == frame::Malformed::bad_tag;
}

// The command code where a well-formed frame has it; 0 if it is too short to have one. A look at it
// spares most frames a walk through handles and sessions; it decides nothing.
std::uint32_t code_at_offset(ByteView frame) {
  constexpr std::size_t code_offset = 6;
  return frame.size() < frame::kHeaderSize ? 0 : load_be32(frame.data() + code_offset);
}

// Can the execution of the command tell the gate something?
bool changes_what_the_gate_knows(std::uint32_t code) {
  switch (code) {
    case frame::kCcStartup:
    case frame::kCcGetCapability:
    case frame::kCcCreatePrimary:
    case frame::kCcContextLoad:
    case frame::kCcFlushContext: return true;
    default: break;
  }
  const frame::CommandInfo* info = frame::find_command(code);
  return info != nullptr && info->reply_handles == 1;
}

// The data of a successful GetCapability without sessions that returned `capability`; empty if the
// reply is anything else. Its offset in the reply is fixed: header, moreData, capability.
constexpr std::size_t kCapabilityData = frame::kHeaderSize + 5;

ByteView capability_data(ByteView reply, std::uint32_t capability) {
  Reader in(reply);
  const bool plain = in.u16() == frame::kTagNoSessions && in.u32() == reply.size() && in.u32() == 0;
  in.u8();  // moreData
  return plain && in.u32() == capability && in.ok() ? in.rest() : ByteView{};
}

bool is_authorized_by_passwords(const frame::Command& command) {
  return command.session_count > 0 &&
         std::ranges::all_of(command.sessions(), [](const frame::Session& session) {
           return session.handle == frame::kRsPassword;
         });
}

// What extends and resets PCRs, or saves, loads and flushes contexts, draws no random number and
// reads no clock: a context is encrypted by a key and a counter that follow from the state. Not so
// anything with a session's nonces.
bool is_replayable(const frame::Command& command) {
  switch (command.code) {
    case frame::kCcPcrExtend:
    case frame::kCcPcrEvent:
    case frame::kCcPcrReset:
      return command.session_count == 1 && is_authorized_by_passwords(command);
    // What the kernel's resource manager sends besides a client's command.
    case frame::kCcContextSave:
    case frame::kCcContextLoad:
    case frame::kCcFlushContext: return command.tag == frame::kTagNoSessions;
    default: return false;
  }
}

// What an authorization lets see, or lets a key be used on, and what changes nothing in the TPM.
// Not so what signs (Sign, Quote, Certify, GetTime, ...): by ECDAA it ends a commitment, which must
// not serve twice.
bool changes_nothing_if_done(const frame::Command& command) {
  switch (command.code) {
    case frame::kCcNvRead:
    case frame::kCcUnseal:
    case frame::kCcRsaDecrypt:
    case frame::kCcEcdhZGen:
    case frame::kCcHmac:
    case frame::kCcEncryptDecrypt:
    case frame::kCcEncryptDecrypt2: return is_authorized_by_passwords(command);
    default: return false;
  }
}

// Sessions roll their nonces, and a wrong authorization may be counted.
Effect effect_of(const Rule& rule, const frame::Parsed& parsed) {
  const frame::Command& command = parsed.command;
  const bool whole = parsed.malformed == frame::Malformed::none;
  if (whole && is_replayable(command)) return Effect::replayable;
  if (whole && changes_nothing_if_done(command)) return Effect::none_if_done;
  return command.tag == frame::kTagSessions ? Effect::volatile_state : rule.effect;
}

Reason check(const Rule& rule, const frame::Parsed& parsed, const Facts& facts) {
  if (rule.verdict == Verdict::deny) return rule.reason;
  if (parsed.malformed != frame::Malformed::none) {
    return rule.verdict == Verdict::conditional ? rule.reason : Reason::malformed;
  }
  if (rule.condition != nullptr) {
    if (const Reason why = rule.condition(parsed.command, facts); why != Reason::allowed) {
      return why;
    }
  }
  return walk(*frame::find_command(rule.code), parsed.command, facts);
}

}  // namespace

std::string_view to_string(Mode mode) {
  return mode == Mode::read_only ? "read-only" : "read-write";
}

Gate::Gate(Options options) : options_(options) {}

Decision Gate::decide(ByteView frame, std::uint8_t /*locality*/) const {
  // libtpms refuses the tag before it looks at anything else; a tpm-tis driver probes with one.
  if (frame::has_tpm12_tag(frame) && frame.size() <= frame::kMaxFrame)
    return allow(0, Effect::none);

  const frame::Parsed parsed = frame::parse(frame);
  if (header_malformed(parsed.malformed)) return refuse(Reason::malformed, parsed.rc, 0);
  const std::uint32_t code = parsed.command.code;
  const Rule* rule = parsed.known ? find_rule(code) : nullptr;
  if (rule == nullptr) return refuse(Reason::unknown_command, frame::kRcCommandCode, code);
  const Effect effect = effect_of(*rule, parsed);
  if (options_.mode == Mode::read_write) return allow(code, effect);

  const Reason reason = check(*rule, parsed, {options_, null_primaries_, pcr_allocation_});
  if (reason == Reason::allowed) return allow(code, effect);
  return refuse(reason, reason == Reason::malformed ? parsed.rc : frame::kRcReadOnly, code);
}

void Gate::observe(ByteView frame, ByteView reply) {
  if (frame::response_code(reply) != 0 || !changes_what_the_gate_knows(code_at_offset(frame))) {
    return;
  }
  const frame::Parsed parsed = frame::parse(frame);
  if (!parsed.known || parsed.malformed != frame::Malformed::none) return;
  const frame::Command& command = parsed.command;

  Reader after_header(reply.subspan(frame::kHeaderSize));
  const std::uint32_t reply_handle = after_header.u32();
  switch (command.code) {
    case frame::kCcStartup: null_primaries_.clear(); break;  // no transient object outlives a reset
    case frame::kCcGetCapability:
      if (const ByteView data = capability_data(reply, frame::kCapPcrs);
          command.tag == frame::kTagNoSessions && !data.empty()) {
        pcr_allocation_ = to_bytes(data);
      }
      break;
    case frame::kCcCreatePrimary:
      if (after_header.ok() && asks_for_linux_null_primary(command)) {
        null_primaries_.insert(reply_handle);
      }
      break;
    case frame::kCcContextLoad: {
      // A handle that is given anew no longer names what it named before. A loaded key of the null
      // hierarchy was saved in this power cycle, behind this gate: it is the null primary.
      SavedContext context;
      if (!after_header.ok() || !read_context(command.parameters, context)) break;
      null_primaries_.erase(reply_handle);
      if (options_.linux_hmac && options_.mode == Mode::read_only &&
          context.hierarchy == frame::kRhNull && context.saved_handle == kSavedTransientObject) {
        null_primaries_.insert(reply_handle);
      }
      break;
    }
    case frame::kCcFlushContext: {
      Reader in(command.parameters);
      null_primaries_.erase(in.u32());
      break;
    }
    default:
      // Any other new object takes its handle's name away from a key that was flushed unseen.
      if (frame::find_command(command.code)->reply_handles == 1 && after_header.ok()) {
        null_primaries_.erase(reply_handle);
      }
      break;
  }
}

void Gate::patch_reply(ByteView frame, MutableByteView reply) const {
  if (options_.mode != Mode::read_only || code_at_offset(frame) != frame::kCcGetCapability) return;
  const frame::Parsed parsed = frame::parse(frame);
  if (!parsed.known || parsed.malformed != frame::Malformed::none ||
      parsed.command.code != frame::kCcGetCapability ||
      parsed.command.tag != frame::kTagNoSessions) {
    return;
  }
  Reader in(capability_data(reply, frame::kCapTpmProperties));
  const std::uint32_t count = in.u32();
  constexpr std::size_t property_size = 8;
  for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
    const std::uint32_t property = in.u32();
    const std::uint32_t value = in.u32();
    if (!in.ok() || property != kPtStartupClear) continue;
    const std::size_t at = kCapabilityData + 4 + i * property_size + 4;
    store_be32(reply.data() + at, value | kStartupClearReadOnly);
  }
}

Effect effect_of(const Decision& decision, std::uint32_t response_code) {
  if (response_code == frame::kRcFailure) return Effect::volatile_state;
  const bool done = response_code == frame::kRcSuccess;
  switch (decision.effect) {
    case Effect::replayable: return done ? Effect::replayable : Effect::volatile_state;
    case Effect::none_if_done: return done ? Effect::none : Effect::volatile_state;
    default: return decision.effect;
  }
}

}  // namespace vtpm::policy
