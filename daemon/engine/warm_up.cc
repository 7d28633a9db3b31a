// SPDX-License-Identifier: Apache-2.0
#include "engine/warm_up.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>

#include "engine/blank_template.h"
#include "engine/libtpms_host.h"
#include "engine/state_blob.h"

namespace vtpm::engine {
namespace {

// Startup(CLEAR), SelfTest(full), CreatePrimary of a P-256 storage key: they touch the code, tables
// and OpenSSL contexts that a worker's first commands would. The key is the owner hierarchy's,
// whose seed is zero: anybody can compute it, so that it may stay behind.
constexpr std::array<std::uint8_t, 12> kStartup{0x80, 0x01, 0, 0, 0, 0x0c, 0, 0, 0x01, 0x44, 0, 0};
constexpr std::array<std::uint8_t, 11> kSelfTest{0x80, 0x01, 0, 0, 0, 0x0b, 0, 0, 0x01, 0x43, 1};
constexpr std::array<std::uint8_t, 67> kCreatePrimary{
    0x80, 0x02, 0, 0,    0,    67,   0, 0,    0x01, 0x31, 0x40, 0,    0, 0x01,  // TPM_RH_OWNER
    0,    0,    0, 9,    0x40, 0,    0, 0x09, 0,    0,    0,    0,    0,        // empty password
    0,    4,    0, 0,    0,    0,                                               // inSensitive
    0,    26,   0, 0x23, 0,    0x0b, 0, 0x03, 0x04, 0x72, 0,    0,  // ECC, SHA-256, attributes
    0,    6,    0, 0x80, 0,    0x43, 0, 0x10, 0,    3,    0,    0x10, 0, 0,
    0,    0,                        // AES-128-CFB, P-256
    0,    0,    0, 0,    0,    0};  // outsideInfo, creationPCR

Result<void> run(LibtpmsHost& tpm, ByteView command, const char* what) {
  VTPM_TRY(const ByteView reply, tpm.process(command, 0));
  if (reply.size() < 10 || load_be32(reply.data() + 6) != 0)
    return fail(ErrorCode::internal, std::string("warming up: ") + what + " fails");
  return {};
}

// Everything that Startup drew is in the volatile state. Loading that state with zeros in those
// places overwrites libtpms's variables, which Terminate leaves as they are.
Result<SecretBytes> zeroed(ByteView volatile_state) {
  VTPM_TRY(const VolatileLayout v, parse_volatile(volatile_state));
  SecretBytes blob = to_secret(volatile_state);
  for (const Field& field : {v.drbg_seed, v.null_proof, v.null_seed, v.commit_nonce})
    std::fill_n(blob.begin() + static_cast<std::ptrdiff_t>(field.offset), field.size, std::byte{0});
  VTPM_CHECK(rehash_volatile(blob));
  return blob;
}

Result<void> exercise(ByteView blank, const WarmUpObserver& observer) {
  SecretBytes empty_state;
  {
    VTPM_TRY(const auto tpm, LibtpmsHost::power_on(blank, {}));
    VTPM_CHECK(run(*tpm, std::as_bytes(std::span(kStartup)), "Startup"));
    VTPM_CHECK(run(*tpm, std::as_bytes(std::span(kSelfTest)), "SelfTest"));
    VTPM_CHECK(run(*tpm, std::as_bytes(std::span(kCreatePrimary)), "CreatePrimary"));
    SecretBytes state;
    VTPM_CHECK(tpm->read_volatile_state(state));
    if (observer) observer(state);
    VTPM_TRY(empty_state, zeroed(state));
  }
  VTPM_TRY(const auto tpm, LibtpmsHost::power_on(blank, empty_state));
  return {};
}

bool self_tested = false;

// Overwrites the part of the stack below the caller that the calls before may have used.
[[gnu::noinline]] void scrub_stack() {
  std::array<std::byte, std::size_t{256} * 1024> depth;
  wipe(depth);
}

// libtpms and OpenSSL free blocks without wiping them. Taking every free block of the heap and
// overwriting it is the only way to reach them from outside. They stay taken: what a worker
// allocates lies side by side behind them, in pages of its own, and not here and there in pages
// that it shares with all others until it writes there.
// NOLINTBEGIN(cppcoreguidelines-no-malloc,cppcoreguidelines-owning-memory): the heap is the subject
void scrub_heap() {
  constexpr std::size_t kLargest = std::size_t{64} * 1024;
  constexpr std::size_t kLargestCached = 1032;  // by a thread: glibc's tcache
  static const char data = 0;  // of the program, which the heap lies behind; a sanitizer's does not
  const auto is_ours = [](const void* block, const void* end) {
    const std::less<const void*> below;
    return below(&data, block) && below(block, end);
  };
  const void* const end = ::sbrk(0);
  // The block, if it was not free before: then no other of its size is.
  const auto take_all = [&](std::size_t size) {
    for (;;) {
      void* block = std::malloc(size);
      if (block == nullptr) return block;
      wipe({static_cast<std::byte*>(block), ::malloc_usable_size(block)});
      if (!is_ours(block, end)) return block;
    }
  };
  for (std::size_t size = kLargest; size > kLargestCached; size -= size / 16)
    std::free(take_all(size));
  // Of these malloc() would keep the block for the next that asks for one of its size, and so a
  // worker would get one here and one there.
  for (std::size_t size = kLargestCached; size >= 24; size -= 16)
    if (void* block = take_all(size); !is_ours(block, ::sbrk(0))) std::free(block);
  (void)::malloc_trim(0);
}
// NOLINTEND(cppcoreguidelines-no-malloc,cppcoreguidelines-owning-memory)

}  // namespace

Result<void> warm_up_observed(const WarmUpObserver& observer) {
  // What is given back is joined to the free memory beside it at once. Else small blocks, of which
  // a signature takes hundreds, move on through the memory of libtpms's largest buffers.
  (void)::mallopt(M_MXFAST, 0);
  VTPM_CHECK(initialize_libraries());
  VTPM_TRY(const ByteView blank, blank_template());
  auto done = exercise(blank, observer);
  self_tested = done.has_value();
  scrub_stack();
  scrub_heap();
  return done;
}

bool is_self_tested() { return self_tested; }

}  // namespace vtpm::engine
