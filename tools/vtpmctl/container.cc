// SPDX-License-Identifier: Apache-2.0
#include "container.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <sstream>

namespace vtpm::ctl {
namespace {

constexpr std::size_t kLargestProcFile = std::size_t{16} << 20;  // mounts are the container's

tl::unexpected<Failure> cannot_look(std::uint32_t pid, int error) {
  if (error == ESRCH || error == ENOENT) {
    return failure(Exit::failed, fmt::format("there is no process {}", pid),
                   "name the first process of a running container, as the host counts: 'crun "
                   "state', 'podman inspect' and 'lxc-info' tell its PID");
  }
  const bool may_not = error == EACCES || error == EPERM;
  return failure(may_not ? Exit::permission : Exit::failed,
                 fmt::format("cannot look into process {}: {}", pid, std::strerror(error)),
                 may_not ? "run vtpmctl as root" : "is it a process, and not a thread of one?");
}

// Nothing, and errno, if it cannot be read.
std::optional<std::string> read_all(int folder, const char* name) {
  const UniqueFd file(::openat(folder, name, O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  std::string text;
  std::array<char, 65536> part{};
  while (text.size() < kLargestProcFile) {
    const ssize_t got = ::read(file.get(), part.data(), part.size());
    if (got < 0) return std::nullopt;
    if (got == 0) return text;
    text.append(part.data(), static_cast<std::size_t>(got));
  }
  errno = EFBIG;
  return std::nullopt;
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  for (std::size_t at = 0; at <= line.size();) {
    const std::size_t end = std::min(line.find(' ', at), line.size());
    words.push_back(line.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

template <class Take>
void each_line(std::string_view text, const Take& take) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    take(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

}  // namespace

Outcome<Container> open_container(const Environment& environment, std::uint32_t pid) {
  const std::filesystem::path proc = environment.root / "proc";
  Container container;
  container.process.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!container.process) return cannot_look(pid, errno);
  container.proc.reset(
      ::open((proc / std::to_string(pid)).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  // While the process is there, so is its PID, and the folder is its own.
  if (!container.proc ||
      ::syscall(SYS_pidfd_send_signal, container.process.get(), 0, nullptr, 0) != 0)
    return cannot_look(pid, errno);

  struct stat its{};
  struct stat ours{};
  if (::fstatat(container.proc.get(), "ns/mnt", &its, 0) != 0) return cannot_look(pid, errno);
  if (::stat((proc / "self/ns/mnt").c_str(), &ours) != 0) return cannot_look(pid, errno);
  if (same_file(its, ours)) {
    return failure(
        Exit::failed,
        fmt::format("process {} is in no container: it sees the mounts of the host", pid),
        "name the first process of a running container");
  }
  container.root.reset(::openat(container.proc.get(), "root", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!container.root) return cannot_look(pid, errno);
  auto mounts = read_all(container.proc.get(), "mountinfo");
  const auto users = read_all(container.proc.get(), "uid_map");
  const auto groups = read_all(container.proc.get(), "gid_map");
  if (!mounts || !users || !groups) return cannot_look(pid, errno);
  container.mounts = *std::move(mounts);

  const auto uid = outside_of_root(*users);
  const auto gid = outside_of_root(*groups);
  if (!uid || !gid) {
    return failure(Exit::failed, fmt::format("the user namespace of process {} has no root", pid),
                   "map user and group 0 in the container: its root is to own the node");
  }
  container.uid = *uid;
  container.gid = *gid;
  return container;
}

Outcome<UniqueFd> open_cgroup(const Environment& environment, const Container& container) {
  const auto path = cgroup_path(read_all(container.proc.get(), "cgroup").value_or(""));
  if (!path) return tl::unexpected<Failure>(path.error());
  const UniqueFd top(
      ::open((environment.root / "sys/fs/cgroup").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  open_how how{};
  how.flags = O_WRONLY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
  UniqueFd procs(static_cast<int>(
      ::syscall(SYS_openat2, top.get(),
                (path->substr(1) + "/cgroup.procs").c_str() + (*path == "/"), &how, sizeof how)));
  if (!procs) {
    return failure(
        errno == EACCES ? Exit::permission : Exit::failed,
        fmt::format("cannot look at the container's cgroup {}: {}", *path, std::strerror(errno)),
        "run vtpmctl as root, on the host, with cgroup v2 at /sys/fs/cgroup");
  }
  return procs;
}

std::string mount_source(const std::string& uuid) { return "vtpm:" + uuid; }

std::vector<MountedNode> mounted_nodes(std::string_view mountinfo, std::string_view source) {
  constexpr std::string_view kFolder = "/dev/";
  std::vector<MountedNode> nodes;
  each_line(mountinfo, [&](std::string_view line) {
    // "36 35 0:40 /tpm0 /dev/tpm0 rw,nosuid [options ...] - tmpfs SOURCE rw"
    const std::vector<std::string_view> words = words_of(line);
    std::size_t dash = 6;
    while (dash < words.size() && words[dash] != "-") ++dash;
    if (dash + 2 >= words.size() || words[dash + 1] != "tmpfs" || words[dash + 2] != source) return;
    std::string_view name = words[4];
    if (!name.starts_with(kFolder)) return;
    name.remove_prefix(kFolder.size());
    if (name.empty() || name.find_first_of("/\\") != std::string_view::npos) return;
    MountedNode node{0, std::string(name)};
    const auto [end, error] =
        std::from_chars(words[0].data(), words[0].data() + words[0].size(), node.mount_id);
    if (error == std::errc() && end == words[0].data() + words[0].size()) nodes.push_back(node);
  });
  return nodes;
}

std::optional<std::uint32_t> outside_of_root(std::string_view map) {
  std::optional<std::uint32_t> found;
  each_line(map, [&](std::string_view line) {
    std::istringstream in{std::string(line)};
    std::uint32_t inside = 0;
    std::uint32_t outside = 0;
    if (in >> inside >> outside && inside == 0) found = outside;
  });
  return found;
}

Outcome<std::string> cgroup_path(std::string_view text) {
  std::string path;
  bool version_1 = false;
  each_line(text, [&](std::string_view line) {
    // "4:devices:/x" of version 1, "0::/x" of version 2
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', std::min(first, line.size() - 1) + 1);
    if (second == std::string_view::npos) return;
    const std::string controllers =
        "," + std::string(line.substr(first + 1, second - first - 1)) + ",";
    if (controllers.find(",devices,") != std::string::npos) version_1 = true;
    if (line.substr(0, second) == "0:") path = line.substr(second + 1);
  });
  if (version_1 || !path.starts_with('/') || path.starts_with("/..")) {
    return failure(Exit::failed,
                   version_1
                       ? "this host has device rules of cgroup v1, which vtpmctl does not know"
                       : "the container's cgroup cannot be seen from here",
                   version_1 ? "boot with systemd.unified_cgroup_hierarchy=1"
                             : "run vtpmctl on the host, outside of any container");
  }
  return path;
}

}  // namespace vtpm::ctl
