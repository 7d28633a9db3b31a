// SPDX-License-Identifier: Apache-2.0
// A TPM that runs out of room: of memory, or of NV.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "base/checkpoint.h"
#include "engine/engine.h"
#include "engine/test_commands.h"

namespace vtpm::engine {
namespace {

using namespace testing;

constexpr std::uint32_t kNvDefine = 0x12a, kNvUndefine = 0x122, kNvWrite = 0x137,
                        kRcNvSpace = 0x14b;
constexpr std::uint32_t kEvictControl = 0x120;
constexpr std::uint32_t kFirstIndex = 0x01500000, kFirstKey = 0x81000000;

// With the longest policy and authorization that there are, those of SHA-512.
std::uint32_t define_index(Engine& tpm, std::uint32_t index, std::uint16_t size) {
  constexpr std::uint32_t owner_reads_and_writes = 0x00020002;
  const Bytes longest(64, std::byte{7});
  Parameters area;
  area.u32(index).u16(0x0d).u32(owner_reads_and_writes).sized(longest).u16(size);
  return run(tpm, kNvDefine, {kOwner}, 1, Parameters().sized(longest).sized(area.bytes).bytes).rc;
}

std::uint32_t write_index(Engine& tpm, std::uint32_t index, std::uint16_t size) {
  const Bytes data(size / 2, std::byte{0x5a});  // a frame of TPM 2.0 takes 1024 bytes of data
  return run(tpm, kNvWrite, {kOwner, index}, 1, Parameters().sized(data).u16(0).bytes).rc;
}

// The quota of a device's state: libtpms' own NV memory.
TEST(Room, AFullNvRefusesWhatGrowsAndDoesTheRest) {
  constexpr std::uint16_t size = 2048;
  auto tpm = must_start({.origin = Origin::fresh});
  ASSERT_EQ(startup(*tpm), 0U);
  const std::uint32_t key = load_be32(create_primary(*tpm, kOwner).body.data());
  for (std::uint32_t i = 0; i < 4; i++)  // persistent objects have room of their own
    ASSERT_EQ(run(*tpm, kEvictControl, {kOwner, key}, 1, Parameters().u32(kFirstKey + i).bytes).rc,
              0U);
  std::uint32_t count = 0;
  for (std::uint32_t rc = 0; rc == 0; count++) {
    rc = define_index(*tpm, kFirstIndex + count, size);
    if (rc != 0) {
      EXPECT_EQ(rc, kRcNvSpace);
    }
    ASSERT_LT(count, 1000U);
  }
  count--;  // the last one was refused
  EXPECT_GT(count, 30U);
  for (const std::uint32_t index : {kFirstIndex, kFirstIndex + count - 1})
    EXPECT_EQ(write_index(*tpm, index, size), 0U);
  EXPECT_EQ(pcr_extend(*tpm, 7, 3), 0U);
  EXPECT_EQ(create_primary(*tpm, kOwner).rc, 0U);

  const SecretBytes permanent = tpm->permanent().value();
  const SecretBytes volatile_state = tpm->volatile_state().value();
  EXPECT_LE(permanent.size(), kMaxPermanentState);
  EXPECT_LE(volatile_state.size(), kMaxVolatileState);
  tpm.reset();
  tpm = must_start({Origin::restore, permanent, volatile_state});
  EXPECT_EQ(define_index(*tpm, kFirstIndex + count, size), kRcNvSpace);
  EXPECT_EQ(run(*tpm, kNvUndefine, {kOwner, kFirstIndex}, 1).rc, 0U);
  EXPECT_EQ(define_index(*tpm, kFirstIndex + count, size), 0U);
}

// A sanitizer's allocator has no end that a limit could set.
#ifndef VTPM_SANITIZE

// All memory that is left but `spare` bytes.
void use_up_memory(std::size_t spare) {
  std::ifstream statm("/proc/self/statm");
  rlim_t pages = 0;
  statm >> pages;
  const rlim_t now = pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE));
  const rlimit limit{now, now};
  ::setrlimit(RLIMIT_AS, &limit);
  constexpr std::size_t piece = 1024;
  std::vector<void*> kept;
  kept.reserve(spare / piece);
  while (kept.size() < spare / piece) kept.push_back(std::malloc(piece));
  // Every size of block that malloc() may keep for later, too.
  void* volatile taken = nullptr;  // the compiler leaves out what nobody looks at
  for (std::size_t size = std::size_t{1} << 20; size >= 8; size -= size > 8192 ? size / 2 : 8) do
      taken = std::malloc(size);
    while (taken != nullptr);
  for (void* memory : kept) std::free(memory);
}

// The exit status of a child that makes a key with `spare` bytes: the low byte of the answer's
// code.
int make_key_with(std::size_t spare) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto tpm = must_start({.origin = Origin::fresh});
    (void)startup(*tpm);
    const Bytes frame = [] {
      Parameters area;
      area.u16(0x23).u16(0x0b).u32(0x00030472).u16(0);
      area.u16(6).u16(128).u16(0x43).u16(0x10).u16(3).u16(0x10).u16(0).u16(0);
      return command(0x131, {kOwner}, 1,
                     Parameters().u16(4).u16(0).u16(0).sized(area.bytes).u16(0).u32(0).bytes);
    }();
    use_up_memory(spare);
    const auto reply = tpm->process(frame, 0);
    if (!reply) ::_exit(2);  // the engine says so: the worker ends
    ::_exit(load_be32(reply->data() + 6) == 0 ? 0 : 1);
  }
  int status = 0;
  (void)::waitpid(child, &status, 0);
  return status;
}

TEST(Room, AnEngineWithoutMemoryEndsAndNeverAnswersWrong) {
  int succeeded = 0;
  int ended = 0;
  for (std::size_t spare = 0; spare < (std::size_t{96} << 10); spare += 2048) {
    const int status = make_key_with(spare);
    if (WIFEXITED(status)) {
      EXPECT_NE(WEXITSTATUS(status), 1) << "an error of the TPM, with " << spare << " bytes";
      (WEXITSTATUS(status) == 0 ? succeeded : ended)++;
    } else {
      EXPECT_EQ(WTERMSIG(status), SIGABRT) << spare;
      ended++;
    }
  }
  EXPECT_GT(succeeded, 0);
  EXPECT_GT(ended, 0);
}

#endif  // VTPM_SANITIZE

}  // namespace
}  // namespace vtpm::engine
