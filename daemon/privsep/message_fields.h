// SPDX-License-Identifier: Apache-2.0
// What messages.cc and fork_messages.cc read and write alike. Every field comes from another
// process: a value that the sender cannot have meant makes the Reader fail.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/bytes.h"

namespace vtpm::privsep {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};

inline bool checked_bool(Reader& in) {
  const std::uint8_t value = in.u8();
  if (value > 1) in.fail();
  return value == 1;
}

// Text of another process goes into logs, the store and UTF-8 strings of the API.
inline std::string printable_text(ByteView bytes) {
  std::string out(as_text(bytes));
  std::ranges::replace_if(out, [](unsigned char c) { return c < 0x20 || c > 0x7e; }, '?');
  return out;
}

}  // namespace vtpm::privsep
