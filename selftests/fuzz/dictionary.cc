// SPDX-License-Identifier: Apache-2.0
// Prints a dictionary for libFuzzer: the command codes of the table, tags and well-known handles.
#include <cstdio>

#include "frame/commands.h"
#include "frame/frame.h"

namespace {

void entry(std::string_view name, std::uint32_t value, unsigned size) {
  std::printf("%.*s=\"", static_cast<int>(name.size()), name.data());
  for (unsigned i = size; i-- > 0;) std::printf("\\x%02x", value >> (8 * i) & 0xff);
  std::puts("\"");
}

}  // namespace

int main() {
  using namespace vtpm::frame;
  for (const CommandInfo& info : command_table()) entry(info.name, info.code, 4);
  entry("no_sessions", kTagNoSessions, 2);
  entry("sessions", kTagSessions, 2);
  for (const std::uint32_t handle :
       {kRhOwner, kRhNull, kRsPassword, kRhLockout, kRhEndorsement, kRhPlatform})
    entry("handle", handle, 4);
}
