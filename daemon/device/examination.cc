// SPDX-License-Identifier: Apache-2.0
#include "device/examination.h"

#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace vtpm::device {
namespace {

using Status = Finding::Status;

// Free bytes where the store is: its log may not be able to grow any more, and soon.
constexpr std::uint64_t kTooLittle = std::uint64_t{1} << 20;
constexpr std::uint64_t kLittle = std::uint64_t{64} << 20;

Finding module_check(const ExaminationInput& in) {
  if (in.kernel == nullptr)
    return {"kernel module", Status::warning, "not in use (--no-kernel): socket nodes only",
            "load it with 'modprobe vtpm' and restart vtpmd without --no-kernel"};
  const auto version = in.kernel->version();
  if (!version)
    return {"kernel module", Status::failure, version.error().message, "reload the vtpm module"};
  return {"kernel module", Status::ok,
          fmt::format("loaded, interface {}.{}", version->abi_major, version->abi_minor), ""};
}

Finding number_check(const ExaminationInput& in) {
  const std::string name = "device numbers";
  if (in.kernel == nullptr) return {name, Status::ok, "none held", ""};
  const auto nodes = in.kernel->list();
  if (!nodes) return {name, Status::failure, nodes.error().message, "reload the vtpm module"};
  const auto held = std::ranges::count_if(
      *nodes, [](const vtpm_info& n) { return (n.conditions & VTPM_COND_NUMBER_HELD) != 0; });
  const auto strangers = std::ranges::count_if(*nodes, [&in](const vtpm_info& n) {
    return n.state != VTPM_STATE_DEAD && !in.devices.contains(uuid_of(n)) &&
           !in.damaged.contains(uuid_of(n));
  });
  if (strangers != 0)
    return {
        name, Status::warning,
        fmt::format("{} TPM devices in the kernel are not in the store", strangers),
        "another program made them, or the store was replaced; unloading the module removes them"};
  if (held != 0)
    return {
        name, Status::warning,
        fmt::format("{} numbers of destroyed nodes are held back, in case a container still has "
                    "the node",
                    held),
        "once those containers are gone: vtpmctl release --all"};
  return {name, Status::ok, "none held", ""};
}

Finding journal_check(const ExaminationInput& in) {
  const std::string path = in.options.run_dir + "/journal";
  struct statfs fs{};
  if (::statfs(path.c_str(), &fs) != 0)
    return {"journal", Status::failure, "cannot look at " + path, "restart vtpmd"};
  if (fs.f_type != RAMFS_MAGIC)
    return {"journal", Status::failure, path + " is not on ramfs: volatile state may be swapped",
            "restart vtpmd without --journal-anywhere"};
  return {"journal", Status::ok, path + " is on ramfs", ""};
}

Finding key_check(const ExaminationInput& in) {
  const std::string path = KeySource::plain_file(in.options.host_key, in.options.state_dir);
  if (path.empty()) return {"host key", Status::ok, "it is kept as " + in.options.host_key, ""};
  struct stat key{};
  struct stat store{};
  if (::lstat(path.c_str(), &key) != 0)
    return {"host key", Status::failure, path + " is gone",
            "put it back from a backup before vtpmd is restarted: without it no state can be read"};
  if ((key.st_mode & 077) != 0)
    return {"host key", Status::failure, path + " can be read by others", "chmod 600 " + path};
  if (::lstat((in.options.state_dir + "/store.db").c_str(), &store) == 0 &&
      key.st_dev == store.st_dev)
    return {"host key", Status::warning,
            "it lies on the disk of the store: whoever copies that disk can open every state",
            "keep it in a TPM (--host-key tpm:...), a credential, or a file on another disk"};
  return {"host key", Status::ok, "a file that only its owner can read", ""};
}

Finding replay_check(const ExaminationInput& in) {
  if (!in.options.anchor.empty())
    return {"replay protection", Status::ok, "a TPM of the host counts the runs of vtpmd", ""};
  return {
      "replay protection", Status::warning,
      "an old copy of the whole store, put back while vtpmd was stopped, is not detected",
      "have a TPM of the host count (--anchor tpm:..., see vtpmd(8)), or keep the store's folder "
      "out of reach and out of rollbacks of the host's disk"};
}

// Its death closes the connection, and then nobody is there.
Finding engine_check(const ExaminationInput& in) {
  if (in.fork_server <= 0)
    return {"engine", Status::failure, "the fork server is not running",
            "systemctl restart vtpm-engine; if it fails: journalctl -u vtpm-engine -b"};
  return {"engine", Status::ok, fmt::format("fork server is process {}", in.fork_server), ""};
}

// The fork server has the rights that somebody must have; whoever takes over vtpmd gets its own.
Finding rights_check() {
  const std::string name = "rights";
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> sets{};
  if (::syscall(SYS_capget, &header, sets.data()) != 0)
    return {name, Status::failure, "cannot ask for the capabilities of vtpmd", "see capget(2)"};
  const bool capable = (sets[0].permitted | sets[1].permitted) != 0;
  if (::geteuid() != 0 && !capable)
    return {name, Status::ok, fmt::format("user {}, no capability", ::geteuid()), ""};
  return {
      name, Status::warning,
      fmt::format("vtpmd runs as user {} with{} capabilities, which it does not need", ::geteuid(),
                  capable ? "" : "out"),
      "have systemd start it: vtpmd.service runs it as user vtpm, vtpm-engine.service does what "
      "needs root"};
}

Finding device_check(const ExaminationInput& in) {
  std::string damaged;
  for (const auto& [uuid, view] : in.damaged) damaged += " " + view.settings.name;
  if (!damaged.empty())
    return {"devices", Status::failure, "their records cannot be used:" + damaged,
            "'vtpmctl show NAME' says why; 'vtpmctl delete NAME' removes one, or restore the store "
            "from a backup"};
  std::string failed;
  for (const auto& [uuid, device] : in.devices)
    if (device->phase() == Phase::failed) failed += " " + device->record().settings.name;
  if (!failed.empty())
    return {"devices", Status::failure, "failed:" + failed,
            "'vtpmctl show NAME' says why; 'vtpmctl power-cycle NAME' starts one anew (its PCRs "
            "reset)"};
  for (const auto& [uuid, device] : in.devices)
    if (const View view = device->view(); !view.waits_for.empty())
      return {"devices", Status::warning,
              fmt::format("{} cannot go on yet: {}", view.settings.name, view.waits_for),
              "it goes on by itself once the cause is gone; 'vtpmctl list' shows others that are "
              "detached"};
  return {"devices", Status::ok, "none has failed", ""};
}

Finding seedling_check(const ExaminationInput& in) {
  const std::string name = "identities ahead";
  const Seedlings& all = in.seedlings;
  if (all.bound() == 0) return {name, Status::ok, "none (--identities-ahead 0)", ""};
  const std::string text =
      fmt::format("{} of {} wanted are ready, at most {}", all.ready(), all.wanted(), all.bound());
  if (!all.failure().empty())
    return {name, Status::warning, text + ": " + all.failure(),
            "new devices make their RSA keys when they start; vtpmd's log says what fails"};
  return {name, Status::ok, text, ""};
}

}  // namespace

std::vector<Finding> examine(const ExaminationInput& in) {
  return {module_check(in), number_check(in),  engine_check(in),
          rights_check(),   journal_check(in), key_check(in),
          replay_check(in), device_check(in),  seedling_check(in)};
}

Finding examine_store(const std::string& state_dir) {
  if (const auto sound = store::check_sqlite(state_dir + "/store.db"); !sound)
    return {"store", Status::failure, sound.error().message,
            "stop vtpmd and restore " + state_dir + "/store.db from a backup"};
  struct statvfs fs{};
  const bool known = ::statvfs(state_dir.c_str(), &fs) == 0;
  const std::uint64_t free = std::uint64_t{fs.f_bavail} * fs.f_frsize;
  if (known && free < kTooLittle)
    return {"store", Status::failure, "the file system of the store is full",
            "free some space below " + state_dir + ": permanent changes wait for it"};
  if (known && free < kLittle)
    return {"store", Status::warning, "less than 64 MiB are free where the store is",
            "free some space below " + state_dir};
  return {"store", Status::ok, "every page is sound", ""};
}

}  // namespace vtpm::device
