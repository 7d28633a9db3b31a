// SPDX-License-Identifier: Apache-2.0
// Mutations that know what a case is: plain bytes seldom get past the size in a frame's header.
#include <algorithm>
#include <cstring>

#include "frame/commands.h"
#include "frame/frame.h"
#include "frame_case.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max);

namespace vtpm::fuzz {
namespace {

void mutate_bytes(Dice& dice, Bytes& bytes, bool keep_size_field) {
  const std::size_t old = bytes.size();
  const std::size_t room = std::min<std::size_t>(old + 64, frame::kMaxFrame + 16);
  bytes.resize(std::max<std::size_t>(room, 16));
  bytes.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(bytes.data()), old, bytes.size()));
  if (keep_size_field && !dice.one_in(5)) mend_size(bytes);
}

void put(Bytes& frame, std::size_t at, std::uint32_t value) {
  if (frame.size() >= at + 4) store_be32(frame.data() + at, value);
}

void mutate_command(Dice& dice, Bytes& command) {
  const auto table = frame::command_table();
  switch (dice.below(8)) {
    case 0: command = some_command(dice); break;
    case 1:
      put(command, 6, table[dice.below(static_cast<std::uint32_t>(table.size()))].code);
      break;
    case 2: put(command, 6, table[0].code - 2 + dice.below(0x80)); break;
    case 3: put(command, 10 + std::size_t{4} * dice.below(4), some_handle(dice)); break;
    case 4:
      if (command.size() >= 2)
        store_be16(command.data(),
                   static_cast<std::uint16_t>(dice.one_in(3) ? 0xc1 + dice.below(4)
                                                             : 0x8000 + dice.below(3)));
      break;
    case 5:
      command.resize(dice.below(static_cast<std::uint32_t>(command.size()) + 1));
      mend_size(command);
      break;
    case 6:
      if (dice.one_in(8))
        command.resize(frame::kMaxFrame - 1 + dice.below(3));
      else
        command.resize(command.size() + 1 + dice.below(8));
      mend_size(command);
      break;
    default: mutate_bytes(dice, command, true); break;
  }
}

void mutate(Dice& dice, FrameCase& c) {
  if (c.exchanges.empty() || (c.exchanges.size() < kMaxExchanges && dice.one_in(6))) {
    Exchange e{.locality = static_cast<std::uint8_t>(dice.below(6)),
               .command = some_command(dice),
               .reply = {}};
    e.reply = some_reply(dice, e.command);
    const auto at =
        static_cast<std::ptrdiff_t>(dice.below(static_cast<std::uint32_t>(c.exchanges.size()) + 1));
    c.exchanges.insert(c.exchanges.begin() + at, std::move(e));
    return;
  }
  const std::uint32_t which = dice.below(static_cast<std::uint32_t>(c.exchanges.size()));
  Exchange& e = c.exchanges[which];
  switch (dice.below(10)) {
    case 0: c.flags = static_cast<std::uint8_t>(dice.below(8)); break;
    case 1: e.locality = static_cast<std::uint8_t>(dice.below(256)); break;
    case 2: c.exchanges.erase(c.exchanges.begin() + which); break;
    case 3: e.reply = some_reply(dice, e.command); break;
    case 4: mutate_bytes(dice, e.reply, true); break;
    default: mutate_command(dice, e.command); break;
  }
}

std::size_t put_out(const FrameCase& c, std::uint8_t* data, std::size_t max) {
  const Bytes out = encode_case(c);
  const std::size_t size = std::min(out.size(), max);
  if (size > 0) std::memcpy(data, out.data(), size);
  return size;
}

ByteView view(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const std::byte*>(data), size};
}

}  // namespace
}  // namespace vtpm::fuzz

using namespace vtpm::fuzz;

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max, unsigned seed) {
  Dice dice{seed};
  if (dice.one_in(16)) return LLVMFuzzerMutate(data, size, max);
  FrameCase c = decode_case(view(data, size));
  for (std::uint32_t times = 1 + dice.below(3); times > 0; --times) mutate(dice, c);
  return put_out(c, data, max);
}

// The beginning of one life and the end of another.
extern "C" std::size_t LLVMFuzzerCustomCrossOver(const std::uint8_t* data1, std::size_t size1,
                                                 const std::uint8_t* data2, std::size_t size2,
                                                 std::uint8_t* out, std::size_t max,
                                                 unsigned seed) {
  Dice dice{seed};
  FrameCase first = decode_case(view(data1, size1));
  const FrameCase second = decode_case(view(data2, size2));
  first.exchanges.resize(dice.below(static_cast<std::uint32_t>(first.exchanges.size()) + 1));
  for (const Exchange& e : second.exchanges)
    if (first.exchanges.size() < kMaxExchanges && !dice.one_in(3)) first.exchanges.push_back(e);
  return put_out(first, out, max);
}
