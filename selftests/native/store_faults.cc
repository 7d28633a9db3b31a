// SPDX-License-Identifier: Apache-2.0
// A disk that fails when a test says so: goes before libc in vtpmd (LD_PRELOAD) and stands between
// it and the files below VTPM_FAULT_FOLDER.
//
// The test and this library share the file VTPM_FAULT_CONTROL, four words in the machine's order:
//
//   0   fault: 0 none; 1 writes fail with EIO; 2 syncs do
//   1   countdown: the call that takes it from 1 to 0 is the last one of this process, which gets
//       SIGKILL after half of the write, or before the sync; 0 = never
//   2   shadow: 1 = a file that was synced is copied to VTPM_FAULT_SHADOW. What is there is what a
//       power loss leaves that takes everything that was not synced
//   3   calls so far, for the test to read
//
// Descriptors are recognised by /proc/self/fd at each call: nothing to keep in step with the
// program.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

enum class Fault : std::uint32_t { none, write, sync };

struct Control {
  std::atomic<std::uint32_t> fault, countdown, shadow, calls;
};
static_assert(sizeof(Control) == 16);

struct Disk {
  Control* control = nullptr;
  std::string folder, shadow;
};

// Other programs that inherit the environment, workers with a filter of system calls among them,
// get a libc that does nothing else.
Disk open_disk() {
  Disk disk;
  const char* folder = std::getenv("VTPM_FAULT_FOLDER");
  const char* path = std::getenv("VTPM_FAULT_CONTROL");
  const char* shadow = std::getenv("VTPM_FAULT_SHADOW");
  if (std::string_view(program_invocation_short_name) != "vtpmd") return disk;
  if (folder == nullptr || path == nullptr || shadow == nullptr) std::abort();
  const int fd = ::open(path, O_RDWR | O_CLOEXEC);
  void* map = ::mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) std::abort();
  ::close(fd);
  disk.control = static_cast<Control*>(map);
  disk.folder = std::string(folder) + "/";
  disk.shadow = std::string(shadow) + "/";
  return disk;
}

const Disk& disk() {
  static const Disk one = open_disk();
  return one;
}

// The name in the folder of the file behind a descriptor; empty if it is not one of ours.
std::string name_of(int fd) {
  if (disk().control == nullptr) return {};
  std::array<char, 4096> target{};
  const ssize_t n =
      ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target.data(), target.size());
  const std::string_view path(target.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  return path.starts_with(disk().folder) ? std::string(path.substr(disk().folder.size()))
                                         : std::string();
}

// Is this call the last one?
bool ends_here() {
  Control& control = *disk().control;
  control.calls++;
  if (control.countdown == 0) return false;
  control.countdown--;
  return control.countdown == 0;
}

ssize_t plain_write(int fd, const void* data, std::size_t size, const off_t* offset) {
  return offset != nullptr ? ::syscall(SYS_pwrite64, fd, data, size, *offset)
                           : ::syscall(SYS_write, fd, data, size);
}

ssize_t write_to_disk(int fd, const void* data, std::size_t size, const off_t* offset) {
  if (name_of(fd).empty()) return plain_write(fd, data, size, offset);
  if (ends_here()) {
    (void)plain_write(fd, data, size / 2, offset);
    (void)::raise(SIGKILL);
  }
  if (disk().control->fault == static_cast<std::uint32_t>(Fault::write)) {
    errno = EIO;
    return -1;
  }
  return plain_write(fd, data, size, offset);
}

// Whole or not at all, as the process may be killed here as well.
bool copy_to_shadow(const std::string& name) {
  const std::string to = disk().shadow + name;
  const std::string made = to + ".new";
  const int in = ::open((disk().folder + name).c_str(), O_RDONLY | O_CLOEXEC);
  const int out = ::open(made.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  struct stat file{};
  bool whole = in >= 0 && out >= 0 && ::fstat(in, &file) == 0;
  for (off_t done = 0; whole && done < file.st_size;)
    whole = ::sendfile(out, in, &done, static_cast<std::size_t>(file.st_size - done)) > 0;
  ::close(in);
  ::close(out);
  return whole && ::rename(made.c_str(), to.c_str()) == 0;
}

int sync_to_disk(long call, int fd) {
  const std::string name = name_of(fd);
  if (name.empty()) return static_cast<int>(::syscall(call, fd));
  if (ends_here()) (void)::raise(SIGKILL);
  if (disk().control->fault == static_cast<std::uint32_t>(Fault::sync)) {
    errno = EIO;
    return -1;
  }
  if (const long failed = ::syscall(call, fd); failed != 0) return static_cast<int>(failed);
  // A test that goes on without its shadow would test nothing.
  if (disk().control->shadow != 0 && !copy_to_shadow(name)) std::abort();
  return 0;
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* data, size_t size) {
  return write_to_disk(fd, data, size, nullptr);
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  return write_to_disk(fd, data, size, &offset);
}
ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  return write_to_disk(fd, data, size, &offset);
}
int fsync(int fd) { return sync_to_disk(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_to_disk(SYS_fdatasync, fd); }
}
