// SPDX-License-Identifier: Apache-2.0
#include "store/private_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "base/uuid.h"

namespace vtpm::store {
namespace {

constexpr mode_t kGroupAndOthers = S_IRWXG | S_IRWXO;

// The owner and mode that both files and folders must have.
Result<void> check_owner_and_mode(const struct stat& st, const std::string& path,
                                  const std::string& what, const char* good_mode,
                                  mode_t allowed = 0) {
  if (st.st_uid != 0 && st.st_uid != ::geteuid()) {
    std::string hint =
        fmt::format("make sure nobody else wrote it, then: chown {} {}", ::geteuid(), path);
    if (::geteuid() == 0)
      hint += fmt::format(
          "; if it is that of vtpmd.service, run this one as its user: setpriv --reuid={0} "
          "--regid={0} --init-groups",
          st.st_uid);
    return fail(ErrorCode::permission,
                fmt::format("{} {} belongs to user {}", what, path, st.st_uid), std::move(hint));
  }
  if ((st.st_mode & kGroupAndOthers & ~allowed) != 0)
    return fail(
        ErrorCode::permission,
        fmt::format("{} {} has mode {:04o}: others may get at it", what, path, st.st_mode & 07777U),
        fmt::format("chmod {} {}", good_mode, path));
  return {};
}

}  // namespace

Result<UniqueFd> open_private_file(const std::string& path, int flags, const std::string& what,
                                   mode_t allowed) {
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
  VTPM_CHECK(check_owner_and_mode(st, path, what, "0600", allowed));
  return fd;
}

Result<SecretBytes> read_private_file(const std::string& path, std::size_t limit,
                                      const std::string& what, mode_t allowed) {
  VTPM_TRY(const UniqueFd fd, open_private_file(path, O_RDONLY, what, allowed));
  SecretBytes content(limit + 1);  // one more, to see a file that is too long
  std::size_t size = 0;
  while (size < content.size()) {
    const ssize_t n = ::read(fd.get(), content.data() + size, content.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(fmt::format("cannot read {} {}", what, path), errno);
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
  }
  if (size > limit)
    return fail(ErrorCode::too_large,
                fmt::format("{} {} is longer than {} bytes", what, path, limit));
  content.resize(size);
  return content;
}

// Under another name first, then moved into place.
Result<void> write_private_file(const std::string& path, ByteView content, bool replace,
                                const std::string& what) {
  std::array<std::byte, 8> suffix{};
  VTPM_CHECK(fill_random(suffix));
  const std::string temporary = fmt::format("{}.new-{}", path, to_hex(suffix));
  VTPM_TRY(const UniqueFd fd, open_private_file(temporary, O_WRONLY | O_CREAT | O_EXCL, what));
  const auto install = [&]() -> Result<void> {
    // Not what the umask left of 0600.
    if (::fchmod(fd.get(), 0600) != 0)
      return fail_errno(fmt::format("cannot set the mode of {}", temporary), errno);
    for (ByteView rest = content; !rest.empty();) {
      const ssize_t n = ::write(fd.get(), rest.data(), rest.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return fail_errno(fmt::format("cannot write {} {}", what, temporary), errno);
      rest = rest.subspan(static_cast<std::size_t>(n));
    }
    if (::fsync(fd.get()) != 0)
      return fail_errno(fmt::format("cannot sync {} {}", what, temporary), errno);
    if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(),
                    replace ? 0 : RENAME_NOREPLACE) != 0)
      return fail_errno(fmt::format("cannot put {} at {}", what, path), errno);
    return {};
  };
  if (auto installed = install(); !installed) {
    (void)::unlink(temporary.c_str());
    return installed;
  }
  return sync_folder(folder_of(path));
}

void overwrite(int fd) {
  struct stat st{};
  if (::fstat(fd, &st) != 0) return;
  const Bytes zeros(static_cast<std::size_t>(std::clamp<off_t>(st.st_size, 0, 65536)));
  [[maybe_unused]] const ssize_t n = ::pwrite(fd, zeros.data(), zeros.size(), 0);
  (void)::fsync(fd);
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
