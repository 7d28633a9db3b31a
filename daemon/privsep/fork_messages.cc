// SPDX-License-Identifier: Apache-2.0
#include "privsep/fork_messages.h"

#include <string_view>

#include "privsep/message_fields.h"

namespace vtpm::privsep {
namespace {

enum class Type : std::uint16_t {
  fork_request = 20,
  forked = 21,
  died = 22,
  welcome = 23,
  busy = 24,
  end = 25,
  inherited = 26,
  open_control = 27,
  control = 28,
  kill = 29,
};

constexpr std::size_t kMaxRelease = 64;

std::uint32_t u32(std::int32_t value) { return static_cast<std::uint32_t>(value); }
std::int32_t i32(Reader& in) { return static_cast<std::int32_t>(in.u32()); }

Welcome read_welcome(Reader& in) {
  Welcome m;
  m.protocol = in.u32();
  m.pid = i32(in);
  m.workers = in.u32();
  const ByteView release = in.sized16();
  if (release.size() > kMaxRelease) in.fail();
  m.release = printable_text(release);
  return m;
}

Inherited read_inherited(Reader& in) {
  Inherited m;
  m.pid = i32(in);
  m.device.bytes = in.array<16>();
  m.incarnation = in.u64();
  m.dead = checked_bool(in);
  m.wait_status = i32(in);
  if (m.pid <= 0) in.fail();
  return m;
}

ForkRequest read_fork_request(Reader& in) {
  ForkRequest m;
  m.id = in.u64();
  m.device.bytes = in.array<16>();
  m.incarnation = in.u64();
  return m;
}

Forked read_forked(Reader& in) {
  Forked m;
  m.id = in.u64();
  m.pid = i32(in);
  m.error = i32(in);
  return m;
}

}  // namespace

SecretBytes encode(const ForkMessage& message) {
  SecretBytes out;
  SecretWriter w(out);
  const auto head = [&w](Type type) -> SecretWriter& {
    return w.u16(static_cast<std::uint16_t>(type));
  };
  std::visit(
      Overloaded{
          [&](const Welcome& m) {
            head(Type::welcome).u32(m.protocol).u32(u32(m.pid)).u32(m.workers);
            w.sized16(as_bytes(std::string_view(m.release).substr(0, kMaxRelease)));
          },
          [&](const Busy& m) { head(Type::busy).u32(u32(m.pid)); },
          [&](const End&) { head(Type::end); },
          [&](const Inherited& m) {
            head(Type::inherited).u32(u32(m.pid)).bytes(m.device.bytes).u64(m.incarnation);
            w.u8(static_cast<std::uint8_t>(m.dead)).u32(u32(m.wait_status));
          },
          [&](const OpenControl&) { head(Type::open_control); },
          [&](const Control& m) { head(Type::control).u32(u32(m.error)); },
          [&](const ForkRequest& m) {
            head(Type::fork_request).u64(m.id).bytes(m.device.bytes).u64(m.incarnation);
          },
          [&](const Forked& m) { head(Type::forked).u64(m.id).u32(u32(m.pid)).u32(u32(m.error)); },
          [&](const Kill& m) { head(Type::kill).u32(u32(m.pid)); },
          [&](const Died& m) { head(Type::died).u32(u32(m.pid)).u32(u32(m.wait_status)); },
      },
      message);
  return out;
}

Result<ForkMessage> decode_fork(ByteView bytes) {
  Reader in(bytes);
  ForkMessage message;
  switch (static_cast<Type>(in.u16())) {
    case Type::welcome: message = read_welcome(in); break;
    case Type::busy: message = Busy{i32(in)}; break;
    case Type::end: message = End{}; break;
    case Type::inherited: message = read_inherited(in); break;
    case Type::open_control: message = OpenControl{}; break;
    case Type::control: message = Control{i32(in)}; break;
    case Type::fork_request: message = read_fork_request(in); break;
    case Type::forked: message = read_forked(in); break;
    case Type::kill: message = Kill{i32(in)}; break;
    case Type::died: {
      Died m;
      m.pid = i32(in);
      m.wait_status = i32(in);
      message = m;
      break;
    }
    default: in.fail(); break;
  }
  if (!in.done()) return fail(ErrorCode::corrupt, "message of the fork server: malformed");
  return message;
}

}  // namespace vtpm::privsep
