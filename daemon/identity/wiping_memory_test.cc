// SPDX-License-Identifier: Apache-2.0
#include "identity/wiping_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <iostream>

#include "identity/authority.h"

namespace vtpm::identity {
namespace {

constexpr std::byte kMask{0x5a};

// How often a third of the key is in memory that can be written, in either byte order. `masked` is
// that third, changed, so that it does not find itself.
int copies(const std::array<std::byte, 16>& masked) {
  std::ifstream maps("/proc/self/maps");
  int found = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find(" rw") == std::string::npos) continue;
    char* end = nullptr;
    const auto from = std::strtoul(line.c_str(), &end, 16);
    const auto to = std::strtoul(end + 1, nullptr, 16);
    const auto* const first = reinterpret_cast<const std::byte*>(from);
    for (const std::byte* at = first; at + masked.size() <= first + (to - from); at++) {
      const auto same = [](std::byte there, std::byte key) { return there == (key ^ kMask); };
      if (std::equal(masked.begin(), masked.end(), at,
                     [&](auto m, auto t) { return same(t, m); }) ||
          std::equal(masked.rbegin(), masked.rend(), at,
                     [&](auto m, auto t) { return same(t, m); }))
        found++;
    }
  }
  return found;
}

[[noreturn]] void live_and_look() {
  const bool wiping = wipe_what_openssl_frees();
  std::array<std::byte, 16> masked{};
  int alive = 0;
  {
    const auto authority = Authority::create();
    if (!authority) std::_Exit(2);
    const SecretBytes key = authority->private_key();
    for (std::size_t i = 0; i < masked.size(); i++) masked[i] = key[51 + i] ^ kMask;
    const auto again = Authority::load(key, authority->chain());
    alive = copies(masked);
  }
  const int left = copies(masked);
  std::cerr << "wiping " << wiping << ", " << alive << " copies, then " << left << std::endl;
  std::_Exit(wiping && alive > 0 && left == 0 ? 0 : 1);
}

// In a process that has not used OpenSSL before.
TEST(WipingMemory, leaves_no_secret_of_an_authority) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(live_and_look(), ::testing::ExitedWithCode(0), "then 0");
}

}  // namespace
}  // namespace vtpm::identity
