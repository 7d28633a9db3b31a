// SPDX-License-Identifier: Apache-2.0
// For the tests of engine/: builds the few TPM commands that they need, takes replies apart.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "base/bytes.h"
#include "engine/engine.h"

namespace vtpm::engine::testing {

inline constexpr std::uint32_t kOwner = 0x40000001, kNull = 0x40000007, kLockout = 0x4000000a,
                               kEndorsement = 0x4000000b, kPlatform = 0x4000000c;

// A command with an empty password for each handle in `authorized`.
inline Bytes command(std::uint32_t code, const std::vector<std::uint32_t>& handles,
                     std::size_t authorized, const Bytes& parameters = {}, ByteView password = {}) {
  Bytes body;
  Writer out(body);
  for (const auto handle : handles) out.u32(handle);
  if (authorized > 0) {
    out.u32(static_cast<std::uint32_t>(authorized * (9 + password.size())));
    for (std::size_t i = 0; i < authorized; ++i) out.u32(0x40000009).u16(0).u8(0).sized16(password);
  }
  out.bytes(parameters);
  Bytes whole;
  Writer(whole)
      .u16(authorized > 0 ? 0x8002 : 0x8001)
      .u32(static_cast<std::uint32_t>(10 + body.size()))
      .u32(code)
      .bytes(body);
  return whole;
}

struct Reply {
  std::uint32_t rc = 0xffffffff;
  Bytes body;  // after the header
};

inline Reply run(Engine& tpm, const Bytes& frame, std::uint8_t locality = 0) {
  const auto view = tpm.process(frame, locality);
  if (!view) return {};
  Reader in(*view);
  in.u16();
  EXPECT_EQ(in.u32(), view->size());
  Reply reply;
  reply.rc = in.u32();
  reply.body = to_bytes(in.rest());
  return reply;
}

inline Reply run(Engine& tpm, std::uint32_t code, const std::vector<std::uint32_t>& handles,
                 std::size_t authorized, const Bytes& parameters = {}) {
  return run(tpm, command(code, handles, authorized, parameters));
}

struct Parameters {  // Parameters().u16(1).u32(2).done()
  Bytes bytes;
  Parameters& u8(std::uint8_t v) { return Writer(bytes).u8(v), *this; }
  Parameters& u16(std::uint16_t v) { return Writer(bytes).u16(v), *this; }
  Parameters& u32(std::uint32_t v) { return Writer(bytes).u32(v), *this; }
  Parameters& raw(ByteView v) { return Writer(bytes).bytes(v), *this; }
  Parameters& sized(ByteView v) { return Writer(bytes).sized16(v), *this; }
};

inline std::uint32_t startup(Engine& tpm, bool state = false) {
  return run(tpm, 0x144, {}, 0, Parameters().u16(state ? 1 : 0).bytes).rc;
}
inline std::uint32_t shutdown(Engine& tpm, bool state) {
  return run(tpm, 0x145, {}, 0, Parameters().u16(state ? 1 : 0).bytes).rc;
}
inline std::uint32_t pcr_extend(Engine& tpm, std::uint32_t pcr, std::uint8_t fill,
                                std::uint8_t locality = 0) {
  const Bytes digest(32, std::byte{fill});
  return run(tpm, command(0x182, {pcr}, 1, Parameters().u32(1).u16(0x0b).raw(digest).bytes),
             locality)
      .rc;
}
inline Bytes pcr_read(Engine& tpm, unsigned pcr) {
  Parameters p;
  p.u32(1).u16(0x0b).u8(3);
  for (unsigned i = 0; i < 3; ++i)
    p.u8(static_cast<std::uint8_t>(pcr / 8 == i ? 1U << pcr % 8 : 0));
  const Reply reply = run(tpm, 0x17e, {}, 0, p.bytes);
  if (reply.rc != 0 || reply.body.size() < 32) return {};
  return {reply.body.end() - 32, reply.body.end()};
}
inline Bytes get_random(Engine& tpm, std::uint16_t count = 32) {
  const Reply reply = run(tpm, 0x17b, {}, 0, Parameters().u16(count).bytes);
  if (reply.rc != 0) return {};
  Reader in(reply.body);
  return to_bytes(in.sized16());
}
struct Session {
  std::uint32_t rc, handle;
  Bytes nonce;
};
inline Session start_session(Engine& tpm, std::uint8_t type = 0) {
  const Bytes nonce(16, std::byte{0x11});
  const Reply reply = run(tpm, 0x176, {kNull, kNull}, 0,
                          Parameters().sized(nonce).u16(0).u8(type).u16(0x10).u16(0x0b).bytes);
  Reader in(reply.body);
  const std::uint32_t handle = in.u32();
  return {reply.rc, handle, to_bytes(in.sized16())};
}
// A P-256 storage key, the same template everywhere.
inline Reply create_primary(Engine& tpm, std::uint32_t hierarchy) {
  Parameters pub;
  pub.u16(0x23).u16(0x0b).u32(0x00030472).u16(0);
  pub.u16(6).u16(128).u16(0x43).u16(0x10).u16(3).u16(0x10).u16(0).u16(0);
  return run(tpm, 0x131, {hierarchy}, 1,
             Parameters().u16(4).u16(0).u16(0).sized(pub.bytes).u16(0).u32(0).bytes);
}

inline std::unique_ptr<Engine> must_start(const StartOptions& options) {
  auto tpm = Engine::start(options);
  if (!tpm) {
    ADD_FAILURE() << tpm.error().message;
    std::abort();
  }
  return std::move(*tpm);
}

}  // namespace vtpm::engine::testing
