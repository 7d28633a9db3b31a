// SPDX-License-Identifier: Apache-2.0
#include "node_mount.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <functional>
#include <optional>

namespace vtpm::ctl {
namespace {

enum class Step {
  done,
  prepare,
  enter,
  look_at_dev,
  host_dev,
  place,
  taken,
  mount,
  join,
  open,
  other,
  unmount,
  died
};

// What a child ends with.
struct Report {
  Step step = Step::done;
  int error = 0;
  std::size_t node = 0;  // which of them
  [[nodiscard]] bool ok() const { return step == Step::done; }
};

constexpr int kNoLimit = -1;
constexpr int kOpensWithin = 5'000;  // ms; a cgroup may be frozen

// Runs it in a child, which makes system calls only: gRPC has threads here. Nothing if it does not
// answer in time or dies.
std::optional<Report> in_child(int milliseconds, const std::function<Report()>& work) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return Report{Step::prepare, errno};
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return Report{Step::prepare, errno};
  if (child == 0) {
    const Report report = work();
    ::_exit(::write(writer.get(), &report, sizeof report) == sizeof report ? 0 : 1);
  }
  writer.reset();
  pollfd answer{reader.get(), POLLIN, 0};
  while (::poll(&answer, 1, milliseconds) < 0 && errno == EINTR) {
  }
  Report report;
  const bool told =
      answer.revents != 0 && ::read(reader.get(), &report, sizeof report) == sizeof report;
  if (!told) (void)::kill(child, SIGKILL);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (!told) return std::nullopt;
  return report;
}

UniqueFd open_dev(const Container& container) {
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS;
  return UniqueFd(
      static_cast<int>(::syscall(SYS_openat2, container.root.get(), "dev", &how, sizeof how)));
}

std::uint64_t mount_id_of(int folder, const char* name) {
  struct statx status{};
  const int flags = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
  if (::statx(folder, name, flags, STATX_MNT_ID, &status) != 0) return 0;
  return (status.stx_mask & STATX_MNT_ID) != 0 ? status.stx_mnt_id : 0;
}

bool is_empty_file(const struct stat& status) {
  return S_ISREG(status.st_mode) && status.st_size == 0;
}

// That mount and no other. umount2() takes a path: `dev` becomes the working directory.
bool unmount(int dev, const char* name, std::uint64_t mount_id) {
  return mount_id != 0 && mount_id_of(dev, name) == mount_id && ::fchdir(dev) == 0 &&
         ::umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW) == 0;
}

// Nothing that the container put there itself. A read-only /dev keeps the file.
void remove_place(int dev, const char* name) {
  struct stat status{};
  if (::fstatat(dev, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && is_empty_file(status))
    (void)::unlinkat(dev, name, 0);
}

// What attach does, in the child.
class Mounting {
 public:
  Mounting(const Container& container, const UniqueFd& cgroup, const std::string& source,
           const Nodes& nodes, const struct stat& host_dev)
      : container_(container),
        cgroup_(cgroup),
        source_(source),
        nodes_(nodes),
        host_dev_(host_dev) {}

  Report run() {
    if (!make_nodes()) return {Step::prepare, errno};
    if (::setns(container_.process.get(), CLONE_NEWNS) != 0) return {Step::enter, errno};
    dev_ = open_dev(container_);
    struct stat status{};
    if (!dev_ || ::fstat(dev_.get(), &status) != 0) return {Step::look_at_dev, errno};
    if (status.st_dev == host_dev_.st_dev) return {Step::host_dev};
    Report report = mount_all();
    if (report.ok()) {
      const auto opened = in_child(kOpensWithin, [&] { return open_all(); });
      report = opened.value_or(Report{Step::join, ETIMEDOUT});
    }
    if (!report.ok()) undo();
    return report;
  }

 private:
  static constexpr std::size_t kCount = std::tuple_size_v<Nodes>;

  [[nodiscard]] const char* name(std::size_t i) const { return nodes_[i].name.c_str(); }
  [[nodiscard]] dev_t number(std::size_t i) const {
    return makedev(nodes_[i].major, nodes_[i].minor);
  }

  // Mounts of single files can only be had of a file system that is mounted somewhere: in a mount
  // namespace that ends with this process.
  bool make_nodes() {
    if (::unshare(CLONE_NEWNS) != 0) return false;
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
    const UniqueFd context(::fsopen("tmpfs", FSOPEN_CLOEXEC));
    if (!context ||
        ::fsconfig(context.get(), FSCONFIG_SET_STRING, "source", source_.c_str(), 0) != 0 ||
        ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
      return false;
    const UniqueFd folder(
        ::fsmount(context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
    if (!folder || ::move_mount(folder.get(), "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) != 0)
      return false;
    for (std::size_t i = 0; i < kCount; ++i) {
      if (::mknodat(folder.get(), name(i), S_IFCHR | 0600, number(i)) != 0 ||
          ::fchownat(folder.get(), name(i), container_.uid, container_.gid, AT_SYMLINK_NOFOLLOW) !=
              0)
        return false;
      mounts_[i].reset(::open_tree(folder.get(), name(i), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
      if (!mounts_[i]) return false;
    }
    return true;
  }

  // Made as the container's root, whose file system may know nobody else. An empty file that is
  // there already will do: of a container whose /dev is read-only.
  UniqueFd place_for(std::size_t i) {
    ::setfsgid(container_.gid);
    ::setfsuid(container_.uid);
    UniqueFd file(::openat(dev_.get(), name(i), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0));
    const int error = errno;
    ::setfsuid(::geteuid());
    ::setfsgid(::getegid());
    made_[i] = file.valid();
    if (!file && (error == EEXIST || error == EROFS))
      file.reset(::openat(dev_.get(), name(i), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    else
      errno = error;
    return file;
  }

  Report mount_all() {
    for (std::size_t i = 0; i < kCount; ++i) {
      const UniqueFd place = place_for(i);
      struct stat status{};
      if (!place || ::fstat(place.get(), &status) != 0) return {Step::place, errno, i};
      if (!is_empty_file(status)) return {Step::taken, 0, i};
      if (::move_mount(mounts_[i].get(), "", place.get(), "",
                       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
        return {Step::mount, errno, i};
    }
    return {};
  }

  // As any program of the container's root does.
  Report open_all() {
    if (::write(cgroup_.get(), "0", 1) != 1) return {Step::join, errno};
    if (::setgroups(0, nullptr) != 0 ||
        ::setresgid(container_.gid, container_.gid, container_.gid) != 0 ||
        ::setresuid(container_.uid, container_.uid, container_.uid) != 0)
      return {Step::join, errno};
    for (std::size_t i = 0; i < kCount; ++i) {
      const UniqueFd node(
          ::openat(dev_.get(), name(i), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
      if (!node && errno == EBUSY) continue;  // /dev/tpmN is for one client at a time
      struct stat status{};
      if (!node || ::fstat(node.get(), &status) != 0) return {Step::open, errno, i};
      if (!S_ISCHR(status.st_mode) || status.st_rdev != number(i)) return {Step::other, 0, i};
    }
    return {};
  }

  void undo() {
    for (std::size_t i = 0; i < kCount; ++i) {
      (void)unmount(dev_.get(), name(i), mount_id_of(mounts_[i].get(), ""));
      if (made_[i]) remove_place(dev_.get(), name(i));
    }
  }

  const Container& container_;
  const UniqueFd& cgroup_;
  const std::string& source_;
  const Nodes& nodes_;
  const struct stat& host_dev_;
  UniqueFd dev_;
  std::array<UniqueFd, kCount> mounts_;
  std::array<bool, kCount> made_{};
};

// `node`: its name in the container.
Failure failure_of(const Report& report, const std::string& node, const std::string& rules) {
  const std::string why = report.error == 0 ? "" : fmt::format(": {}", std::strerror(report.error));
  switch (report.step) {
    case Step::prepare:
    case Step::enter:
      return {report.error == EPERM ? Exit::permission : Exit::failed,
              fmt::format("{}{}",
                          report.step == Step::enter ? "the container's mounts cannot be entered"
                                                     : "the nodes cannot be made",
                          why),
              report.error == ESRCH ? "the process has ended" : "run vtpmctl as root of the host"};
    case Step::look_at_dev:
      return {
          Exit::failed,
          "the container has no folder /dev" +
              (report.error == ELOOP ? std::string(": it is a symbolic link, which is not followed")
                                     : why),
          "nodes are put into /dev only"};
    case Step::host_dev:
      return {Exit::failed, "the container has the host's own /dev: it sees every node of the host",
              "there is nothing to attach; 'vtpmctl show' tells the node"};
    case Step::place:
      return {Exit::failed, fmt::format("/dev/{} cannot be made in the container{}", node, why),
              report.error == ENOENT || report.error == EROFS
                  ? "its /dev is read-only: put empty files there for the nodes, or start it with "
                    "a /dev of its own"
                  : "is its /dev a folder that belongs to its root?"};
    case Step::taken:
      return {Exit::conflict, fmt::format("there is a /dev/{} in the container already", node),
              "remove it there, or give the node another number: --as 1"};
    case Step::mount:
      return {Exit::failed, fmt::format("/dev/{} cannot be mounted in the container{}", node, why),
              ""};
    case Step::join:
      return {Exit::failed,
              report.error == ETIMEDOUT
                  ? "nothing runs in the container's cgroup: it is paused, or ending"
                  : fmt::format("the container's cgroup cannot be joined{}", why),
              "the container is as it was; let it run, then attach again"};
    case Step::open:
      if (report.error == EPERM) {
        return {
            Exit::failed,
            fmt::format("the rules of the container's cgroup forbid its /dev/{}; the container is "
                        "as it was",
                        node),
            fmt::format(
                "rules of a container that runs cannot be widened from here. Start it with {}, or "
                "these numbers in linux.resources.devices of its config.json; Incus adds a "
                "device and its rule itself: 'incus config device add'",
                rules)};
      }
      return {Exit::failed,
              fmt::format("the container cannot open its /dev/{}{}; it is as it was", node, why),
              report.error == ENXIO || report.error == ENODEV
                  ? "the device has been stopped"
                  : "a security module of the host may forbid it: see its log"};
    case Step::other:
      return {
          Exit::conflict,
          fmt::format("the container replaced /dev/{} meanwhile; what was done is undone", node),
          ""};
    case Step::unmount:
      return {Exit::failed, fmt::format("/dev/{} is not what was attached any more", node),
              "see 'findmnt' in the container"};
    case Step::died:
      return {Exit::failed, "the process that entered the container was killed",
              "it may have left nodes there: 'vtpmctl detach'"};
    case Step::done: break;
  }
  return {};
}

const Report kDied{Step::died};

}  // namespace

Outcome<void> mount_nodes(const Environment& environment, const Container& container,
                          const UniqueFd& cgroup, const std::string& source, const Nodes& nodes) {
  struct stat host_dev{};
  if (::stat((environment.root / "dev").c_str(), &host_dev) != 0)
    return failure(Exit::failed, fmt::format("there is no /dev: {}", std::strerror(errno)));
  const Report report = in_child(kNoLimit, [&] {
                          return Mounting(container, cgroup, source, nodes, host_dev).run();
                        }).value_or(kDied);
  if (report.ok()) return {};
  std::string rules = "podman run";
  for (const Node& node : nodes)
    rules += fmt::format(" --device-cgroup-rule 'c {}:{} rw'", node.major, node.minor);
  return tl::unexpected<Failure>(failure_of(report, nodes[report.node].name, rules));
}

Outcome<void> unmount_nodes(const Container& container, const std::vector<MountedNode>& nodes) {
  const auto work = [&]() -> Report {
    if (::setns(container.process.get(), CLONE_NEWNS) != 0) return {Step::enter, errno};
    const UniqueFd dev = open_dev(container);
    if (!dev) return {Step::look_at_dev, errno};
    Report report;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const char* const name = nodes[i].name.c_str();
      if (unmount(dev.get(), name, nodes[i].mount_id))
        remove_place(dev.get(), name);
      else
        report = {Step::unmount, errno, i};
    }
    return report;
  };
  const Report report = in_child(kNoLimit, work).value_or(kDied);
  if (report.ok()) return {};
  return tl::unexpected<Failure>(failure_of(report, nodes[report.node].name, ""));
}

}  // namespace vtpm::ctl
