// SPDX-License-Identifier: Apache-2.0
// The clock of the vTPM: the time since the host booted, the time that it slept included
// (CLOCK_BOOTTIME). Nobody can set it. Internal to engine/.
//
// libtpms 0.9.2 counts a TPM's time in CLOCK_MONOTONIC, which stands still while the host sleeps.
// It also notes CLOCK_REALTIME in every volatile state, and a resume adds what that clock went
// ahead since. So the host's wall clock, set forward before a worker is replaced or a device wakes,
// would be time of the TPM, and heal a lockout after a dictionary attack.
//
// libtpms takes no clock from its caller. So clock.cc defines clock_gettime() for the whole
// program: the dynamic linker finds it before libc's. It answers as libc does, but while libtpms
// runs both clocks are CLOCK_BOOTTIME.
#pragma once

#include <time.h>

#include <cstdint>

#include "base/result.h"

namespace vtpm::engine {

// Lives around each call of libtpms that may read a clock. Thread: its own alone.
class LibtpmsClock {
 public:
  LibtpmsClock();
  LibtpmsClock(const LibtpmsClock&) = delete;
  LibtpmsClock& operator=(const LibtpmsClock&) = delete;
  ~LibtpmsClock();
};

// What libtpms would read now, in milliseconds.
std::uint64_t libtpms_clock_ms();

// An error if this program was linked so that libtpms reads libc's clocks after all.
Result<void> check_libtpms_clock();

// The host's clocks, for tests: what clock_gettime() asks from now on; null: libc.
using HostClock = int (*)(clockid_t id, timespec* now);
void set_host_clock(HostClock clock);

}  // namespace vtpm::engine
