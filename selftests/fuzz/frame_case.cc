// SPDX-License-Identifier: Apache-2.0
#include "frame_case.h"

#include <algorithm>
#include <array>

#include "frame/commands.h"
#include "frame/frame.h"

namespace vtpm::fuzz {
namespace {

constexpr std::uint32_t kStartAuthSession = 0x176;
constexpr std::uint32_t kPcrAllocate = 0x12b;

// A nonce or an HMAC: none, a usual one, or one around the limit.
Bytes some_digest(Dice& dice) {
  constexpr std::array<std::size_t, 7> kSizes{
      0, 0, 1, 20, 32, frame::kMaxDigest, frame::kMaxDigest + 1};
  return Bytes(kSizes.at(dice.below(dice.one_in(4) ? 7 : 6)), std::byte{0x4e});
}

void put_sessions(Dice& dice, Writer& w, std::size_t count) {
  Bytes area;
  Writer a(area);
  for (std::size_t i = 0; i < count; ++i) {
    constexpr std::array<std::uint32_t, 4> kSessions{frame::kRsPassword, 0x02000000, 0x03000000,
                                                     0x80000000};
    a.u32(kSessions.at(dice.below(dice.one_in(8) ? 4 : 3)));
    a.sized16(some_digest(dice));
    a.u8(static_cast<std::uint8_t>(dice.below(256)));
    a.sized16(some_digest(dice));
  }
  w.sized32(area);
}

// Parameters that some condition of the gate reads.
Bytes some_parameters(Dice& dice, std::uint32_t code) {
  Bytes out;
  Writer w(out);
  switch (code) {
    case frame::kCcCreatePrimary:  // what Linux asks for
      if (!dice.one_in(4))
        return from_hex(
                   "000400000000001a0023000b0003047200000006008000430010000300100000000000000"
                   "0000000")
            .value();
      break;
    case frame::kCcContextLoad:
      w.u64(dice.below(4)).u32(0x80000000 + dice.below(3));
      w.u32(dice.one_in(3) ? frame::kRhOwner : frame::kRhNull).sized16(Bytes(dice.below(40)));
      return out;
    case kStartAuthSession:
      w.sized16(Bytes(dice.below(33))).sized16(Bytes(dice.below(65)));
      w.u8(static_cast<std::uint8_t>(dice.below(4))).u16(0x10).u16(0xb);
      return out;
    case frame::kCcGetCapability:
      w.u32(dice.one_in(2) ? 5 : 6).u32(0x200).u32(dice.below(9));
      return out;
    case kPcrAllocate: {
      const std::uint32_t banks = dice.below(4);
      w.u32(banks);
      for (std::uint32_t i = 0; i < banks; ++i)
        w.u16(static_cast<std::uint16_t>(0xb + dice.below(2))).u8(3).u8(0xff).u8(0xff).u8(0xff);
      return out;
    }
    default: break;
  }
  const std::uint32_t parts = dice.below(6);
  for (std::uint32_t i = 0; i < parts; ++i) {
    switch (dice.below(4)) {
      case 0: w.u32(some_handle(dice)); break;
      case 1: w.u32(dice.one_in(2) ? 0x80000000U : dice.below(3)); break;
      case 2: w.u8(static_cast<std::uint8_t>(dice.below(3))); break;
      default: w.sized16(Bytes(dice.one_in(2) ? dice.below(40) : 0, std::byte{0x50})); break;
    }
  }
  return out;
}

}  // namespace

std::uint32_t Dice::below(std::uint32_t n) {
  state += 0x9e3779b97f4a7c15;  // splitmix64
  std::uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return static_cast<std::uint32_t>((z ^ (z >> 31)) % n);
}

policy::Options options_of(const FrameCase& c) {
  return {.mode = (c.flags & 1) != 0 ? policy::Mode::read_write : policy::Mode::read_only,
          .linux_hmac = (c.flags & 2) != 0,
          .pcr_banks_kept = (c.flags & 4) != 0};
}

FrameCase decode_case(ByteView input) {
  FrameCase out;
  Reader in(input);
  out.flags = in.u8();
  while (in.ok() && !in.done() && out.exchanges.size() < kMaxExchanges) {
    Exchange e;
    e.locality = in.u8();
    const auto part = [&in] {
      const std::size_t wanted = in.rest().size() < 2 ? 0 : in.u16();
      return to_bytes(in.bytes(std::min(wanted, in.rest().size())));
    };
    e.command = part();
    e.reply = part();
    out.exchanges.push_back(std::move(e));
  }
  return out;
}

Bytes encode_case(const FrameCase& c) {
  Bytes out;
  Writer w(out);
  w.u8(c.flags);
  for (const Exchange& e : c.exchanges) w.u8(e.locality).sized16(e.command).sized16(e.reply);
  return out;
}

std::uint32_t some_handle(Dice& dice) {
  constexpr std::array<std::uint32_t, 12> kHandles{
      frame::kRhOwner,    frame::kRhNull,    frame::kRhNull,
      frame::kRsPassword, frame::kRhLockout, frame::kRhEndorsement,
      frame::kRhPlatform, 0x80000000,        0x80000001,
      0x81000001,         0x01500001,        0x00000010};
  switch (dice.below(8)) {
    case 0: return dice.below(0xffffffff);
    case 1: return 0x02000000 + dice.below(2);
    case 2: return 0x03000000 + dice.below(2);
    default: return kHandles.at(dice.below(kHandles.size()));
  }
}

Bytes some_command(Dice& dice) {
  constexpr std::array<std::uint32_t, 8> kFavourites{
      frame::kCcCreatePrimary, frame::kCcContextLoad, 0x165, frame::kCcGetCapability,
      kStartAuthSession,       kPcrAllocate,          0x144, 0x151};
  const auto table = frame::command_table();
  const frame::CommandInfo& info =
      dice.one_in(3) ? *frame::find_command(kFavourites.at(dice.below(kFavourites.size())))
                     : table[dice.below(static_cast<std::uint32_t>(table.size()))];
  const std::size_t sessions =
      dice.one_in(6) ? dice.below(4) : info.auth_handles + (dice.one_in(8) ? 1 : 0);
  Bytes out;
  Writer w(out);
  w.u16(sessions > 0 ? frame::kTagSessions : frame::kTagNoSessions).u32(0).u32(info.code);
  for (unsigned i = 0; i < info.handles; ++i)
    w.u32(dice.one_in(2) ? frame::kRhNull : some_handle(dice));
  if (sessions > 0) put_sessions(dice, w, sessions);
  w.bytes(some_parameters(dice, info.code));
  mend_size(out);
  return out;
}

Bytes some_reply(Dice& dice, ByteView command) {
  Bytes out;
  Writer w(out);
  const std::uint32_t code =
      command.size() < frame::kHeaderSize ? 0 : load_be32(command.data() + 6);
  const bool failed = dice.one_in(6);
  w.u16(frame::kTagNoSessions).u32(0).u32(failed ? 0x101 + dice.below(0x80) : 0);
  if (code == frame::kCcGetCapability && !failed) {
    const bool pcrs = dice.one_in(2);
    const std::uint32_t count = dice.below(5);
    w.u8(0).u32(pcrs ? 5 : 6).u32(count);
    for (std::uint32_t i = 0; i < count; ++i) {
      if (pcrs)
        w.u16(static_cast<std::uint16_t>(0xb + i)).u8(3).u8(0xff).u8(0xff).u8(0xff);
      else
        w.u32(0x200 + i).u32(dice.below(32));
    }
  } else {
    const frame::CommandInfo* info = frame::find_command(code);
    if (info != nullptr && info->reply_handles > 0) w.u32(0x80000000 + dice.below(2));
    w.bytes(Bytes(dice.below(24)));
  }
  mend_size(out);
  return out;
}

void mend_size(Bytes& frame) {
  if (frame.size() >= 6) store_be32(frame.data() + 2, static_cast<std::uint32_t>(frame.size()));
}

}  // namespace vtpm::fuzz
