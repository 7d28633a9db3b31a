// SPDX-License-Identifier: Apache-2.0
// After the warm-up, the fork server's memory (which every worker inherits) holds none of the
// secrets that its TPM drew at Startup.
#include "engine/warm_up.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "base/uuid.h"
#include "engine/engine.h"
#include "engine/state_blob.h"
#include "engine/test_commands.h"

// The sanitizer's quarantine keeps freed memory on purpose.
#if defined(VTPM_SANITIZE)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

namespace vtpm::engine {
namespace {

using namespace testing;

constexpr std::byte kMask{0xa5};

// 16 bytes of a secret, kept masked so that the search does not find the search's own copy.
struct Needle {
  std::string name;
  std::array<std::byte, 16> masked{};
};

Needle needle(std::string name, const std::byte* at) {
  Needle n;
  n.name = std::move(name);
  for (std::size_t i = 0; i < n.masked.size(); i++) n.masked[i] = at[i] ^ kMask;
  return n;
}

bool matches(const Needle& n, const std::byte* at) {
  for (std::size_t i = 0; i < n.masked.size(); i++)
    if ((n.masked[i] ^ kMask) != at[i]) return false;
  return true;
}

// Every place of every readable mapping of this process where a needle lies.
std::vector<std::string> search(const std::vector<Needle>& needles) {
  std::vector<std::string> found;
  std::ifstream maps("/proc/self/maps");
  const UniqueFd mem(::open("/proc/self/mem", O_RDONLY | O_CLOEXEC));
  static std::vector<std::byte> buffer;
  std::string line;
  std::vector<std::string> lines;
  while (std::getline(maps, line)) lines.push_back(line);
  for (const std::string& map : lines) {
    std::size_t begin = 0;
    std::size_t end = 0;
    char mode[5] = {};
    if (std::sscanf(map.c_str(), "%zx-%zx %4s", &begin, &end, mode) != 3 || mode[0] != 'r')
      continue;
    if (map.find("[v") != std::string::npos) continue;  // vvar, vsyscall
    const std::size_t size = end - begin;
    if (size > (std::size_t{1} << 30)) continue;
    wipe(buffer);
    buffer.resize(size);
    const ssize_t got = ::pread(mem.get(), buffer.data(), size, static_cast<off_t>(begin));
    if (got < 16) continue;
    const auto buffer_at = reinterpret_cast<std::size_t>(buffer.data());
    for (std::size_t i = 0; i + 16 <= static_cast<std::size_t>(got); i++) {
      const std::size_t address = begin + i;
      if (address >= buffer_at && address < buffer_at + buffer.capacity()) continue;
      for (const Needle& n : needles)
        if (buffer[i] == (n.masked[0] ^ kMask) && matches(n, &buffer[i])) {
          std::ostringstream where;
          where << n.name << " at " << std::hex << address << " in " << map;
          found.push_back(where.str());
        }
    }
  }
  wipe(buffer);
  return found;
}

std::vector<Needle> needles_of(ByteView state) {
  const VolatileLayout v = parse_volatile(state).value();
  std::vector<Needle> needles;
  const auto add = [&](const char* name, const Field& field) {
    for (std::size_t i = 0; i + 16 <= field.size; i += 16)
      needles.push_back(
          needle(std::string(name) + "+" + std::to_string(i), &state[field.offset + i]));
  };
  add("drbg seed", v.drbg_seed);
  add("null proof", v.null_proof);
  add("null seed", v.null_seed);
  add("commit nonce", v.commit_nonce);
  return needles;
}

TEST(WarmUp, LeavesNoSecretInMemory) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer keeps freed memory";
  std::vector<Needle> needles;
  std::size_t found_before = 0;
  ASSERT_TRUE(warm_up_observed([&](ByteView state) {
    needles = needles_of(state);
    found_before = search(needles).size();
  }));
  ASSERT_GE(needles.size(), 3U + 4 + 4 + 2);
  // The search can find: while the TPM ran, each was there (in libtpms, and in the blob).
  EXPECT_GE(found_before, needles.size());
  EXPECT_THAT(search(needles), ::testing::IsEmpty());
}

TEST(WarmUp, TheSearchFindsWhatIsThere) {
  std::vector<std::byte> secret(16);
  ASSERT_TRUE(fill_random(secret));
  const std::vector<Needle> needles{needle("control", secret.data())};
  EXPECT_EQ(search(needles).size(), 1U);
  wipe(secret);
  EXPECT_THAT(search(needles), ::testing::IsEmpty());
}

// Pages that a worker writes to are pages of its own: what it allocates must not lie in the gaps of
// what it shares with all others.
TEST(WarmUp, WhatIsAllocatedAfterItLiesSideBySide) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer has a heap of its own";
  ASSERT_TRUE(Engine::warm_up());
  constexpr std::size_t kOverhead = 16;  // of a block, at most
  std::size_t total = 0;
  std::vector<std::unique_ptr<std::byte[]>> blocks(100);
  std::uintptr_t first = UINTPTR_MAX;
  std::uintptr_t last = 0;
  for (std::size_t i = 0; i < blocks.size(); i++) {
    const std::size_t size = 8 + i * 40 % 1000;
    blocks[i] = std::make_unique<std::byte[]>(size);
    const auto at = reinterpret_cast<std::uintptr_t>(blocks[i].get());
    first = std::min(first, at);
    last = std::max(last, at + size);
    total += size + kOverhead;
  }
  EXPECT_LE(last - first, total);
}

TEST(WarmUp, EveryOriginStartsAfterIt) {
  ASSERT_TRUE(Engine::warm_up());
  ASSERT_TRUE(Engine::warm_up());
  for (const Origin origin : {Origin::blank, Origin::fresh}) {
    auto tpm = must_start({.origin = origin});
    EXPECT_TRUE(tpm->startup_clear());
    const SecretBytes permanent = tpm->permanent().value();
    EXPECT_EQ(is_blank(permanent).value(), origin == Origin::blank);
    const SecretBytes state = tpm->volatile_state().value();
    const VolatileLayout v = parse_volatile(state).value();
    for (const Field& field : {v.null_proof, v.null_seed, v.drbg_seed, v.commit_nonce}) {
      const auto bytes = ByteView(state).subspan(field.offset, field.size);
      EXPECT_TRUE(
          std::any_of(bytes.begin(), bytes.end(), [](auto b) { return b != std::byte{0}; }));
    }
  }
}

// Workers are forked from one warm process, random generator and all.
TEST(WarmUp, ForkedWorkersDrawDifferentSecrets) {
  ASSERT_TRUE(Engine::warm_up());
  for (const Origin origin : {Origin::fresh, Origin::blank}) {
    std::vector<std::string> drawn;
    for (int i = 0; i < 2; i++) {
      int ends[2];
      ASSERT_EQ(::pipe(ends), 0);
      UniqueFd in(ends[0]);
      UniqueFd out(ends[1]);
      const pid_t child = ::fork();
      if (child == 0) {
        auto tpm = Engine::start({.origin = origin});
        if (!tpm || !(*tpm)->startup_clear()) ::_exit(1);
        const SecretBytes permanent = (*tpm)->permanent().value();
        const SecretBytes state = (*tpm)->volatile_state().value();
        const PermanentLayout p = parse_permanent(permanent).value();
        const VolatileLayout v = parse_volatile(state).value();
        const std::string text =
            to_hex(get_random(**tpm)) +
            to_hex(ByteView(state).subspan(v.null_seed.offset, v.null_seed.size)) +
            (origin == Origin::blank
                 ? ""
                 : to_hex(ByteView(permanent).subspan(p.endorsement_seed.offset, 64)));
        ::_exit(::write(out.get(), text.data(), text.size()) > 0 ? 0 : 2);
      }
      out.reset();
      std::array<char, 1024> text{};
      const ssize_t n = ::read(in.get(), text.data(), text.size());
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      ASSERT_EQ(status, 0);
      drawn.emplace_back(text.data(), static_cast<std::size_t>(n));
    }
    ASSERT_EQ(drawn[0].size(), drawn[1].size());
    // 32 random bytes, the null seed, the endorsement seed: each part differs.
    std::size_t at = 0;
    for (const std::size_t digits : {64U, 128U, 128U}) {
      if (at == drawn[0].size()) break;
      EXPECT_NE(drawn[0].substr(at, digits), drawn[1].substr(at, digits)) << at;
      at += digits;
    }
    EXPECT_EQ(at, drawn[0].size());
  }
}

// What libtpms would test before the first use: it is told after a list of nothing to be tested.
std::uint32_t left_to_test(Engine& tpm) {
  const Reply reply = run(tpm, 0x142, {}, 0, Parameters().u32(0).bytes);
  EXPECT_EQ(reply.rc, 0U);
  return reply.body.size() < 4 ? 0 : load_be32(reply.body.data());
}

TEST(WarmUp, WhatItHasTestedIsNotTestedOnceMoreUnlessAll) {
  ASSERT_TRUE(Engine::warm_up());
  const auto tpm = must_start({.origin = Origin::fresh});
  const auto self_test = [&](bool all) {
    return command(0x143, {}, 0, Parameters().u8(all).bytes);
  };
  EXPECT_EQ(run(*tpm, self_test(false)).rc, 0x100U) << "the kernel sends Startup then";
  ASSERT_EQ(startup(*tpm), 0U);
  const Reply rest = run(*tpm, self_test(false));
  EXPECT_EQ(rest.rc, 0U);
  EXPECT_TRUE(rest.body.empty());
  EXPECT_GT(left_to_test(*tpm), 0U);
  EXPECT_EQ(run(*tpm, self_test(true)).rc, 0U);
  EXPECT_EQ(left_to_test(*tpm), 0U);
}

TEST(WarmUp, ASelfTestThatIsAuditedIsDone) {
  ASSERT_TRUE(Engine::warm_up());
  const auto tpm = must_start({.origin = Origin::fresh});
  ASSERT_EQ(startup(*tpm), 0U);
  const Bytes codes = Parameters().u16(0x10).u32(1).u32(0x143).u32(0).bytes;
  ASSERT_EQ(run(*tpm, 0x140, {kOwner}, 1, codes).rc, 0U);
  ASSERT_GT(left_to_test(*tpm), 0U);
  EXPECT_EQ(run(*tpm, 0x143, {}, 0, Parameters().u8(0).bytes).rc, 0U);
  EXPECT_EQ(left_to_test(*tpm), 0U);
}

}  // namespace
}  // namespace vtpm::engine
