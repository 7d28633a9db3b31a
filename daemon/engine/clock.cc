// SPDX-License-Identifier: Apache-2.0
#include "engine/clock.h"

#include <dlfcn.h>

#include <atomic>
#include <cerrno>

namespace {

constinit thread_local bool inside_libtpms = false;
constinit std::atomic<vtpm::engine::HostClock> host_clock{nullptr};

// libc's own. Looked up at the first call: constructors of other libraries may be the first
// callers.
vtpm::engine::HostClock libc_clock() {
  static constinit std::atomic<vtpm::engine::HostClock> found{nullptr};
  auto clock = found.load(std::memory_order_relaxed);
  if (clock == nullptr) {
    clock = reinterpret_cast<vtpm::engine::HostClock>(::dlsym(RTLD_NEXT, "clock_gettime"));
    found.store(clock, std::memory_order_relaxed);
  }
  return clock;
}

}  // namespace

extern "C" int clock_gettime(clockid_t id, timespec* now) noexcept {
  if (inside_libtpms && (id == CLOCK_REALTIME || id == CLOCK_MONOTONIC)) id = CLOCK_BOOTTIME;
  auto clock = host_clock.load(std::memory_order_relaxed);
  if (clock == nullptr) clock = libc_clock();
  if (clock != nullptr) return clock(id, now);
  errno = ENOSYS;
  return -1;
}

namespace vtpm::engine {

LibtpmsClock::LibtpmsClock() { inside_libtpms = true; }
LibtpmsClock::~LibtpmsClock() { inside_libtpms = false; }

std::uint64_t libtpms_clock_ms() {
  timespec now{};
  (void)::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 +
         static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

Result<void> check_libtpms_clock() {
  if (::dlsym(RTLD_DEFAULT, "clock_gettime") == reinterpret_cast<void*>(&::clock_gettime) &&
      libc_clock() != nullptr)
    return {};
  return fail(ErrorCode::internal, "libtpms does not read the clock that this program gives it",
              "the program must export clock_gettime(); link it dynamically");
}

void set_host_clock(HostClock clock) { host_clock.store(clock, std::memory_order_relaxed); }

}  // namespace vtpm::engine
