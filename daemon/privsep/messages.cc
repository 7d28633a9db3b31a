// SPDX-License-Identifier: Apache-2.0
#include "privsep/messages.h"

#include <sys/wait.h>

#include <algorithm>
#include <csignal>

#include "privsep/message_fields.h"

namespace vtpm::privsep {
namespace {

enum class Type : std::uint16_t {
  start = 1,
  stop = 2,
  committed = 3,
  refused = 4,
  ready = 5,
  failed = 6,
  commit = 7,
  denied = 8,
  stopped = 9,
  adopt = 10,
  take_identity = 11,
  manufacture = 12,
  made_keys = 13,
  certificates = 14,
  manufactured = 15,
  tell_running = 16,
  running = 17,
  tell_use = 18,
  use = 19,  // 20 to 29: fork_messages.cc
  make_ahead = 30,
};

constexpr std::size_t kMaxText = 512;

ByteView clipped(const std::string& text) {
  return as_bytes(std::string_view(text).substr(0, kMaxText));
}
std::string text(ByteView bytes) {
  return printable_text(bytes.first(std::min(bytes.size(), kMaxText)));
}

// An enum of a message: its value must be one that the sender could have meant.
template <class E>
E checked_enum(Reader& in, E last) {
  const std::uint8_t value = in.u8();
  if (value == 0 || value > static_cast<std::uint8_t>(last)) in.fail();
  return static_cast<E>(value);
}

void put_list(SecretWriter& w, const std::vector<Bytes>& items) {
  w.u8(static_cast<std::uint8_t>(items.size()));
  for (const Bytes& item : items) w.sized16(item);
}
std::vector<Bytes> list(Reader& in) {
  const std::uint8_t count = in.u8();
  if (count > kMaxCertifiedKeys) in.fail();
  std::vector<Bytes> items;
  for (std::uint8_t i = 0; i < count && in.ok(); i++) {
    const ByteView item = in.sized16();
    if (item.empty() || item.size() > kMaxCertificate) in.fail();
    items.push_back(to_bytes(item));
  }
  return items;
}

SecretBytes state_or_none(Reader& in, std::size_t longest) {
  const ByteView state = in.sized32();
  if (state.size() > longest) in.fail();
  return to_secret(state);
}

SecretBytes permanent(Reader& in) {
  SecretBytes state = state_or_none(in, kMaxPermanentState);
  if (state.empty()) in.fail();
  return state;
}

void write_measurements(SecretWriter& out, const std::vector<Measurement>& measurements) {
  out.u8(static_cast<std::uint8_t>(measurements.size()));
  for (const Measurement& m : measurements) out.u8(m.pcr).bytes(m.digests);
}

std::vector<Measurement> read_measurements(Reader& in) {
  const std::size_t count = in.u8();
  if (count > kMaxEvents) in.fail();
  std::vector<Measurement> measurements;
  while (in.ok() && measurements.size() < count) {
    Measurement& m = measurements.emplace_back();
    m.pcr = in.u8();
    if (m.pcr >= kMeasurablePcrs) in.fail();
    m.digests = in.array<kDigestsSize>();
  }
  return measurements;
}

}  // namespace

SecretBytes encode(const Message& message) {
  SecretBytes out;
  SecretWriter w(out);
  const auto head = [&w](Type type) { w.u16(static_cast<std::uint16_t>(type)); };
  const auto u8 = [](auto value) { return static_cast<std::uint8_t>(value); };
  std::visit(Overloaded{
                 [&](const Start& m) {
                   head(Type::start);
                   w.bytes(m.device.bytes).sized16(clipped(m.name));
                   w.u8(u8(m.node)).u8(u8(m.mode)).u8(u8(m.kind));
                   w.u8(u8(m.linux_hmac)).u8(u8(m.firmware)).u8(u8(m.failed)).u8(u8(m.first_run));
                   w.sized32(vtpm::encode(m.checkpoint));
                   write_measurements(w, m.measurements);
                 },
                 [&](const Stop& m) {
                   head(Type::stop);
                   w.u8(u8(m.how));
                 },
                 [&](const Committed& m) {
                   head(Type::committed);
                   w.u64(m.sequence).u64(m.permanent_version);
                 },
                 [&](const Refused& m) {
                   head(Type::refused);
                   w.sized16(clipped(m.reason));
                 },
                 [&](const Ready& m) {
                   head(Type::ready);
                   w.u8(u8(m.startup_done));
                 },
                 [&](const Failed& m) {
                   head(Type::failed);
                   w.sized16(clipped(m.reason));
                 },
                 [&](const Commit& m) {
                   head(Type::commit);
                   w.sized32(vtpm::encode(m.checkpoint));
                 },
                 [&](const Denied& m) {
                   head(Type::denied);
                   w.u32(m.command_code)
                       .u8(m.reason)
                       .u8(m.locality)
                       .u32(m.rc)
                       .u64(m.sequence)
                       .u32(m.suppressed);
                 },
                 [&](const Stopped& m) {
                   head(Type::stopped);
                   w.u64(m.sequence).u8(u8(m.asked_by_host));
                 },
                 [&](const Adopt&) { head(Type::adopt); },
                 [&](const TakeIdentity& m) {
                   head(Type::take_identity);
                   w.sized32(m.manufactured);
                 },
                 [&](const Manufacture& m) {
                   head(Type::manufacture);
                   w.u8(u8(m.profile)).sized16(m.authorization).bytes(m.event).bytes(m.policy);
                   w.sized16(m.endorsement_seed).sized32(m.copy).u8(u8(m.fresh_storage));
                   w.u32(m.steps).sized16(m.predecessor).sized32(m.running).sized32(m.ahead);
                 },
                 [&](const MadeKeys& m) {
                   head(Type::made_keys);
                   w.u32(m.manufacturer).sized16(clipped(m.model)).u32(m.firmware_version);
                   w.u32(m.spec_level).u32(m.spec_revision);
                   put_list(w, m.keys);
                 },
                 [&](const Certificates& m) {
                   head(Type::certificates);
                   put_list(w, m.certificates);
                   w.sized16(m.chain);
                 },
                 [&](const Manufactured& m) {
                   head(Type::manufactured);
                   w.sized32(m.permanent).sized32(m.volatile_state);
                 },
                 [&](const TellRunning& m) {
                   head(Type::tell_running);
                   w.u64(m.ticket);
                 },
                 [&](const Running& m) {
                   head(Type::running);
                   w.u64(m.ticket).sized32(m.part);
                 },
                 [&](const TellUse&) { head(Type::tell_use); },
                 [&](const Use& m) {
                   head(Type::use);
                   w.u64(m.sequence).u8(u8(m.connected)).u8(u8(m.stays));
                 },
                 [&](const MakeAhead& m) {
                   head(Type::make_ahead);
                   w.u8(u8(m.profile));
                 },
             },
             message);
  return out;
}

Result<Message> decode(ByteView bytes) {
  Reader in(bytes);
  const auto type = static_cast<Type>(in.u16());
  Message message;
  switch (type) {
    case Type::start: {
      Start m;
      m.device.bytes = in.array<16>();
      m.name = text(in.sized16());
      m.node = checked_enum(in, NodeKind::socket);
      m.mode = checked_enum(in, DeviceMode::read_write);
      m.kind = checked_enum(in, DeviceKind::open);
      m.linux_hmac = checked_bool(in);
      m.firmware = checked_bool(in);
      m.failed = checked_bool(in);
      m.first_run = checked_bool(in);
      VTPM_TRY(m.checkpoint, decode_checkpoint(in.sized32()));
      m.measurements = read_measurements(in);
      message = std::move(m);
      break;
    }
    case Type::stop: message = Stop{checked_enum(in, Stop::How::rest)}; break;
    case Type::committed: {
      Committed m;
      m.sequence = in.u64();
      m.permanent_version = in.u64();
      message = m;
      break;
    }
    case Type::refused: message = Refused{text(in.sized16())}; break;
    case Type::ready: message = Ready{checked_bool(in)}; break;
    case Type::failed: message = Failed{text(in.sized16())}; break;
    case Type::commit: {
      Commit m;
      VTPM_TRY(m.checkpoint, decode_checkpoint(in.sized32()));
      if (!m.checkpoint.redo.empty()) in.fail();  // the store gets states, not ways to them
      message = std::move(m);
      break;
    }
    case Type::denied: {
      Denied m;
      m.command_code = in.u32();
      m.reason = in.u8();
      m.locality = in.u8();
      m.rc = in.u32();
      m.sequence = in.u64();
      m.suppressed = in.u32();
      message = m;
      break;
    }
    case Type::stopped: {
      Stopped m;
      m.sequence = in.u64();
      m.asked_by_host = checked_bool(in);
      message = m;
      break;
    }
    case Type::adopt: message = Adopt{}; break;
    case Type::take_identity: message = TakeIdentity{permanent(in)}; break;
    case Type::manufacture: {
      Manufacture m;
      m.profile = checked_enum(in, IdentityProfile::full);
      m.authorization = to_secret(in.sized16());
      m.event = in.array<32>();
      m.policy = in.array<32>();
      if (m.authorization.size() != m.policy.size()) in.fail();
      m.endorsement_seed = to_secret(in.sized16());
      m.copy = state_or_none(in, kMaxPermanentState);
      m.fresh_storage = checked_bool(in);
      m.steps = in.u32();
      m.predecessor = to_secret(in.sized16());
      if (m.steps == 0 || m.steps > kMaxSteps || m.predecessor.size() > kMaxPredecessor) in.fail();
      m.running = state_or_none(in, kMaxVolatileState);
      m.ahead = state_or_none(in, kMaxPermanentState);
      if (!m.ahead.empty() && !m.copy.empty()) in.fail();
      message = std::move(m);
      break;
    }
    case Type::make_ahead: message = MakeAhead{checked_enum(in, IdentityProfile::full)}; break;
    case Type::made_keys: {
      MadeKeys m;
      m.manufacturer = in.u32();
      m.model = text(in.sized16());
      m.firmware_version = in.u32();
      m.spec_level = in.u32();
      m.spec_revision = in.u32();
      m.keys = list(in);
      message = std::move(m);
      break;
    }
    case Type::certificates: {
      Certificates m;
      m.certificates = list(in);
      const ByteView chain = in.sized16();
      if (chain.size() > kMaxCertificate) in.fail();
      m.chain = to_bytes(chain);
      message = std::move(m);
      break;
    }
    case Type::manufactured: {
      Manufactured m{permanent(in)};
      m.volatile_state = state_or_none(in, kMaxVolatileState);
      message = std::move(m);
      break;
    }
    case Type::tell_running: message = TellRunning{in.u64()}; break;
    case Type::running: {
      Running m{in.u64(), {}};
      m.part = state_or_none(in, kMaxVolatileState);
      message = std::move(m);
      break;
    }
    case Type::tell_use: message = TellUse{}; break;
    case Type::use: {
      Use m;
      m.sequence = in.u64();
      m.connected = checked_bool(in);
      m.stays = checked_bool(in);
      message = m;
      break;
    }
    default: in.fail(); break;
  }
  if (!in.done()) return fail(ErrorCode::corrupt, "message between processes: malformed");
  return message;
}

bool is_crash(int wait_status) {
  if (!WIFSIGNALED(wait_status)) return false;
  switch (WTERMSIG(wait_status)) {
    case SIGSEGV:
    case SIGBUS:
    case SIGILL:
    case SIGFPE:
    case SIGABRT:
    case SIGSYS: return true;
    default: return false;
  }
}

}  // namespace vtpm::privsep
