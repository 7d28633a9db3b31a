// SPDX-License-Identifier: Apache-2.0
// The gate under hostile frames: a life of exchanges, each decided, executed (the reply is the
// input's) and observed. What must hold is said here a second time, from the bytes alone.
#include "frame/frame.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string_view>

#include "check.h"
#include "frame/commands.h"
#include "frame_case.h"
#include "policy/policy.h"
#include "policy/rules.h"

namespace vtpm::fuzz {
namespace {

constexpr std::uint32_t kStartupClear = 0x201;

// A copy in memory of exactly its size: the sanitizer sees the first byte behind it.
class Exact {
 public:
  explicit Exact(ByteView bytes) : data_(new std::byte[bytes.size()]), size_(bytes.size()) {
    if (size_ > 0) std::memcpy(data_.get(), bytes.data(), size_);
  }
  [[nodiscard]] MutableByteView view() { return {data_.get(), size_}; }

 private:
  std::unique_ptr<std::byte[]> data_;
  std::size_t size_;
};

// Part 1, 18: a second reading of a frame that shares nothing with frame::parse().
struct Reading {
  bool header = false;  // tag, size and code are there and true
  bool whole = false;   // and handles and sessions
  std::uint32_t code = 0;
  bool with_sessions = false;
  bool password_or_session_only = true;  // in the authorization area
  bool passwords_only = false;           // there are some, and nothing else
  bool lockout = false;                  // TPM_RH_LOCKOUT gives an authorization
};

Reading read(ByteView f) {
  Reading r;
  if (f.size() < 10 || f.size() > 4096 || f[0] != std::byte{0x80}) return r;
  if (f[1] != std::byte{1} && f[1] != std::byte{2}) return r;
  if (load_be32(&f[2]) != f.size()) return r;
  r.header = true;
  r.code = load_be32(&f[6]);
  r.with_sessions = f[1] == std::byte{2};
  const auto table = frame::command_table();
  const auto info = std::ranges::find(table, r.code, &frame::CommandInfo::code);
  if (info == table.end()) return r;
  std::size_t at = 10 + std::size_t{4} * info->handles;
  if (at > f.size()) return r;
  for (std::size_t i = 0; i < info->auth_handles; ++i)
    r.lockout = r.lockout || load_be32(&f[10 + 4 * i]) == frame::kRhLockout;
  if (r.with_sessions) {
    if (f.size() - at < 4) return r;
    const std::size_t area = load_be32(&f[at]);
    at += 4;
    if (area > f.size() - at || area == 0) return r;
    const std::size_t end = at + area;
    int count = 0;
    r.passwords_only = true;
    for (; at < end; ++count) {
      if (end - at < 9) return r;
      r.passwords_only = r.passwords_only && load_be32(&f[at]) == frame::kRsPassword;
      const std::uint32_t kind = load_be32(&f[at]) >> 24;
      if (load_be32(&f[at]) != frame::kRsPassword && kind != 2 && kind != 3)
        r.password_or_session_only = false;
      const std::size_t nonce = load_be16(&f[at + 4]);
      if (nonce > 64 || end - at < 9 + nonce) return r;
      const std::size_t hmac = load_be16(&f[at + 7 + nonce]);
      if (hmac > 64 || end - at < 9 + nonce + hmac) return r;
      at += 9 + nonce + hmac;
    }
    if (count > 3) return r;
  }
  r.whole = true;
  return r;
}

// Commands that make, load, store or use a key, or write NV: in read-only mode never, whatever the
// table of rules says.
constexpr auto kNever = std::to_array<std::string_view>({"ActivateCredential",
                                                         "Certify",
                                                         "CertifyCreation",
                                                         "CertifyX509",
                                                         "ChangeEPS",
                                                         "ChangePPS",
                                                         "Clear",
                                                         "Commit",
                                                         "Create",
                                                         "CreateLoaded",
                                                         "Duplicate",
                                                         "EC_Ephemeral",
                                                         "ECDH_KeyGen",
                                                         "ECDH_ZGen",
                                                         "EncryptDecrypt",
                                                         "EncryptDecrypt2",
                                                         "EvictControl",
                                                         "HMAC",
                                                         "HMAC_Start",
                                                         "Import",
                                                         "Load",
                                                         "LoadExternal",
                                                         "MakeCredential",
                                                         "NV_Certify",
                                                         "NV_ChangeAuth",
                                                         "NV_DefineSpace",
                                                         "NV_Extend",
                                                         "NV_Increment",
                                                         "NV_SetBits",
                                                         "NV_UndefineSpace",
                                                         "NV_Write",
                                                         "Quote",
                                                         "Rewrap",
                                                         "RSA_Decrypt",
                                                         "RSA_Encrypt",
                                                         "Sign",
                                                         "Unseal",
                                                         "ObjectChangeAuth",
                                                         "VerifySignature",
                                                         "ZGen_2Phase"});

bool never(std::uint32_t code) {
  const frame::CommandInfo* info = frame::find_command(code);
  return info != nullptr && std::ranges::find(kNever, info->name) != kNever.end();
}

// An authorization lets them read, or use a key, and nothing more.
bool leaves_nothing(std::uint32_t code) {
  constexpr auto kNothing =
      std::to_array<std::string_view>({"NV_Read", "Unseal", "RSA_Decrypt", "ECDH_ZGen", "HMAC",
                                       "EncryptDecrypt", "EncryptDecrypt2"});
  const frame::CommandInfo* info = frame::find_command(code);
  return info != nullptr && std::ranges::find(kNothing, info->name) != kNothing.end();
}

bool same(const policy::Decision& a, const policy::Decision& b) {
  return a.allow == b.allow && a.reason == b.reason && a.rc == b.rc && a.code == b.code &&
         a.effect == b.effect && a.reply == b.reply;
}

void check_parse(ByteView f, const Reading& r) {
  const frame::Parsed p = frame::parse(f);
  const bool good = p.malformed == frame::Malformed::none;
  FUZZ_CHECK((p.rc == 0) == good);
  FUZZ_CHECK(good == (r.header && (r.whole || !p.known)));
  if (!good || !p.known) return;
  FUZZ_CHECK(p.command.code == r.code);
  FUZZ_CHECK(p.command.sessions().empty() != r.with_sessions);
  const auto inside = [f](ByteView v) {
    return v.empty() || (v.data() >= f.data() && v.data() + v.size() <= f.data() + f.size());
  };
  FUZZ_CHECK(inside(p.command.parameters));
  for (const frame::Session& s : p.command.sessions())
    FUZZ_CHECK(inside(s.nonce) && inside(s.hmac) && s.nonce.size() <= 64 && s.hmac.size() <= 64);
}

void check_decision(const policy::Gate& gate, const policy::Options& options, ByteView f,
                    const Reading& r, std::uint8_t locality) {
  const policy::Decision d = gate.decide(f, locality);
  Exact again(f);
  FUZZ_CHECK(same(d, gate.decide(again.view(), locality)));
  FUZZ_CHECK(d.allow == (d.reason == policy::Reason::allowed) && d.allow == (d.rc == 0));

  // libtpms refuses a tag of TPM 1.2 itself, before anything else.
  const bool tpm12 = f.size() >= 2 && f.size() <= 4096 && f[0] == std::byte{0} &&
                     f[1] >= std::byte{0xc1} && f[1] <= std::byte{0xc3};
  if (tpm12) {
    FUZZ_CHECK(d.allow);
    return;
  }
  if (!d.allow) {
    Bytes ten;
    Writer(ten).u16(0x8001).u32(10).u32(d.rc);
    FUZZ_CHECK(std::ranges::equal(d.reply, ten));
  }
  const policy::Rule* rule = policy::find_rule(r.code);
  if (!r.header || rule == nullptr) {
    FUZZ_CHECK(!d.allow);  // no mode lets through what nobody decided on
    return;
  }
  FUZZ_CHECK(d.code == r.code);
  if (options.mode == policy::Mode::read_write) {
    FUZZ_CHECK(d.allow);
    return;
  }
  if (rule->verdict == policy::Verdict::deny) FUZZ_CHECK(!d.allow && d.rc == frame::kRcReadOnly);
  if (never(r.code)) FUZZ_CHECK(!d.allow);
  if (!r.whole || !r.password_or_session_only || r.lockout) FUZZ_CHECK(!d.allow);
  if (rule->verdict == policy::Verdict::allow && !d.allow)
    FUZZ_CHECK(!r.whole || !r.password_or_session_only || d.rc == frame::kRcReadOnly);
  // Kernels without HMAC sessions: no key is made, none salts a session.
  if (!options.linux_hmac && r.code == 0x131) FUZZ_CHECK(!d.allow);
  if (!options.linux_hmac && r.whole && r.code == 0x176 && load_be32(&f[10]) != frame::kRhNull)
    FUZZ_CHECK(!d.allow);
}

// The end of a frame that was let through belongs to it: one byte less or more is refused.
void check_cut(const policy::Gate& gate, ByteView f, std::uint8_t locality) {
  if (f.size() < 10 || f[0] != std::byte{0x80} || !gate.decide(f, locality).allow) return;
  Exact less(f.first(f.size() - 1));
  FUZZ_CHECK(!gate.decide(less.view(), locality).allow);
  Bytes more = to_bytes(f);
  more.push_back(std::byte{0});
  FUZZ_CHECK(!gate.decide(more, locality).allow);
}

// What is kept before the reply leaves: no less than what the command may have changed.
void check_effect(const policy::Decision& d, const Reading& r, ByteView reply) {
  const std::uint32_t rc = frame::response_code(reply);
  FUZZ_CHECK(reply.size() >= 10 || rc == frame::kRcFailure);
  const policy::Effect effect = policy::effect_of(d, rc);
  if (rc == frame::kRcFailure) FUZZ_CHECK(effect == policy::Effect::volatile_state);
  if (!d.allow) FUZZ_CHECK(d.effect == policy::Effect::none);  // it never reaches the engine
  if (!d.allow || !r.header) return;
  if (effect == policy::Effect::replayable) {
    // PCR_Event, PCR_Reset, PCR_Extend; ContextLoad, ContextSave, FlushContext: that were done
    const bool pcr = r.code == 0x13c || r.code == 0x13d || r.code == 0x182;
    const bool context = r.code == 0x161 || r.code == 0x162 || r.code == 0x165;
    FUZZ_CHECK(rc == frame::kRcSuccess && (r.with_sessions ? pcr : context));
  } else if (r.with_sessions && effect == policy::Effect::none) {
    FUZZ_CHECK(rc == frame::kRcSuccess && r.whole && r.passwords_only && leaves_nothing(r.code));
  } else if (effect == policy::Effect::none) {
    FUZZ_CHECK(policy::find_rule(r.code)->effect == policy::Effect::none);
  } else {
    FUZZ_CHECK(effect == policy::Effect::volatile_state);
  }
}

// A patched reply differs in one bit of one property, or not at all.
void check_patch(const policy::Gate& gate, const policy::Options& options, ByteView f,
                 const Reading& r, ByteView reply) {
  Exact patched(reply);
  gate.patch_reply(f, patched.view());
  const bool may = options.mode == policy::Mode::read_only && r.whole &&
                   r.code == frame::kCcGetCapability && !r.with_sessions;
  const ByteView now = patched.view();
  for (std::size_t i = 0; i < reply.size(); ++i) {
    if (now[i] == reply[i]) continue;
    FUZZ_CHECK(may && i >= 26 && (i - 19) % 8 == 7);
    FUZZ_CHECK(now[i] == (reply[i] | std::byte{0x10}));
    FUZZ_CHECK(load_be32(&reply[i - 7]) == kStartupClear);
  }
  Exact twice(now);
  gate.patch_reply(f, twice.view());
  FUZZ_CHECK(std::ranges::equal(twice.view(), now));
}

void live(const FrameCase& c) {
  const policy::Options options = options_of(c);
  policy::Gate gate(options);
  for (const Exchange& e : c.exchanges) {
    Exact command(e.command);
    Exact reply(e.reply);
    const ByteView f = command.view();
    const Reading r = read(f);
    check_parse(f, r);
    check_decision(gate, options, f, r, e.locality);
    check_cut(gate, f, e.locality);
    check_effect(gate.decide(f, e.locality), r, reply.view());
    check_patch(gate, options, f, r, reply.view());
    // What was refused never reaches the engine, and so nobody observes it.
    if (gate.decide(f, e.locality).allow) gate.observe(f, reply.view());
  }
}

}  // namespace
}  // namespace vtpm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const vtpm::ByteView input(reinterpret_cast<const std::byte*>(data), size);
  const vtpm::fuzz::FrameCase c = vtpm::fuzz::decode_case(input);
  vtpm::fuzz::live(c);
  // The whole input as one frame, too: nothing of it is lost to the format of a case.
  vtpm::fuzz::live({.flags = 0, .exchanges = {{0, vtpm::to_bytes(input), {}}}});
  return 0;
}
