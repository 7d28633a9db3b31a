// SPDX-License-Identifier: Apache-2.0
// How long a disk takes: goes before libc in vtpmd (LD_PRELOAD), counts its syncs and adds up what
// they took in the file VTPM_SYNC_CLOCK: two 64-bit words in the machine's order, the number and
// the nanoseconds.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace {

struct Clock {
  std::atomic<std::uint64_t> syncs, nanoseconds;
};
static_assert(sizeof(Clock) == 16);

// Other programs that inherit the environment get a libc that does nothing else.
Clock* open_clock() {
  const char* path = std::getenv("VTPM_SYNC_CLOCK");
  if (path == nullptr || std::string_view(program_invocation_short_name) != "vtpmd") return nullptr;
  const int fd = ::open(path, O_RDWR | O_CLOEXEC);
  void* map = ::mmap(nullptr, sizeof(Clock), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) std::abort();
  ::close(fd);
  return static_cast<Clock*>(map);
}

int timed(const char* name, int fd) {
  static Clock* const clock = open_clock();
  const auto real = reinterpret_cast<int (*)(int)>(::dlsym(RTLD_NEXT, name));
  const auto start = std::chrono::steady_clock::now();
  const int result = real(fd);
  if (clock != nullptr) {
    const std::chrono::nanoseconds took = std::chrono::steady_clock::now() - start;
    clock->syncs++;
    clock->nanoseconds += static_cast<std::uint64_t>(took.count());
  }
  return result;
}

}  // namespace

extern "C" int fsync(int fd) { return timed("fsync", fd); }
extern "C" int fdatasync(int fd) { return timed("fdatasync", fd); }
