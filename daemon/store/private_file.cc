// SPDX-License-Identifier: Apache-2.0
#include "store/private_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>

namespace vtpm::store {
namespace {

constexpr mode_t kGroupAndOthers = S_IRWXG | S_IRWXO;

// The owner and mode that both files and folders must have.
Result<void> check_owner_and_mode(const struct stat& st, const std::string& path,
                                  const std::string& what, const char* good_mode) {
  if (st.st_uid != 0 && st.st_uid != ::geteuid())
    return fail(
        ErrorCode::permission, fmt::format("{} {} belongs to user {}", what, path, st.st_uid),
        fmt::format("make sure nobody else wrote it, then: chown {} {}", ::geteuid(), path));
  if ((st.st_mode & kGroupAndOthers) != 0)
    return fail(
        ErrorCode::permission,
        fmt::format("{} {} has mode {:04o}: others may get at it", what, path, st.st_mode & 07777U),
        fmt::format("chmod {} {}", good_mode, path));
  return {};
}

}  // namespace

Result<UniqueFd> open_private_file(const std::string& path, int flags, const std::string& what) {
  // O_NONBLOCK: opening a FIFO that somebody put there must not hang; no effect on regular files.
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600));
  if (!fd) {
    const int err = errno;
    if (err == ELOOP)
      return fail(ErrorCode::permission, fmt::format("{} {} is a symbolic link", what, path),
                  "give the path of the file itself");
    return fail_errno(fmt::format("cannot open {} {}", what, path), err);
  }
  struct stat st{};
  if (::fstat(fd.get(), &st) != 0)
    return fail_errno(fmt::format("cannot examine {} {}", what, path), errno);
  if (!S_ISREG(st.st_mode))
    return fail(ErrorCode::permission, fmt::format("{} {} is not a regular file", what, path),
                "give the path of a regular file, or remove what is there");
  VTPM_CHECK(check_owner_and_mode(st, path, what, "0600"));
  return fd;
}

Result<std::string> make_private_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0) {
    VTPM_CHECK(sync_folder(folder_of(path)));
  } else if (errno != EEXIST) {
    return fail_errno(fmt::format("cannot make folder {}", path), errno);
  }
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr),
                                                         &std::free);
  if (!real) return fail_errno(fmt::format("cannot resolve folder {}", path), errno);
  struct stat st{};
  if (::stat(real.get(), &st) != 0)
    return fail_errno(fmt::format("cannot examine folder {}", path), errno);
  if (!S_ISDIR(st.st_mode))
    return fail(ErrorCode::invalid_argument, fmt::format("{} is not a folder", path));
  VTPM_CHECK(check_owner_and_mode(st, path, "folder", "0700"));
  return std::string(real.get());
}

Result<void> sync_folder(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail_errno(fmt::format("cannot open folder {}", path), errno);
  if (::fsync(fd.get()) != 0) return fail_errno(fmt::format("cannot sync folder {}", path), errno);
  return {};
}

std::string folder_of(const std::string& path) {
  const auto slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace vtpm::store
