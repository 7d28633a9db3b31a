// SPDX-License-Identifier: Apache-2.0
#include "local_checks.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>

#include "client.h"

namespace vtpm::ctl {
namespace {

namespace fs = std::filesystem;
constexpr Status kOk = v1::DoctorReply::OK;
constexpr Status kWarning = v1::DoctorReply::WARNING;
constexpr Status kFail = v1::DoctorReply::FAIL;
constexpr mode_t kOthers = 0007;
constexpr mode_t kGroupOrOthers = 0077;

std::optional<struct stat> look(const fs::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  return status;
}

bool there(const fs::path& path) { return look(path).has_value(); }

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

Check kernel(const Environment& env, bool answers) {
  unsigned major = 0;
  unsigned minor = 0;
  if (std::sscanf(env.kernel_release.c_str(), "%u.%u", &major, &minor) != 2) {
    return make_check("kernel", kWarning,
                      fmt::format("version '{}' is not understood", env.kernel_release));
  }
  if (major < 6 || (major == 6 && minor < 1)) {
    return make_check("kernel", kFail, fmt::format("{} is too old", env.kernel_release),
                      "use Linux 6.1 or later");
  }
  if (!there(env.root / "sys/class/tpm")) {
    return make_check("kernel", answers ? kWarning : kFail,
                      fmt::format("{} has no TPM support (CONFIG_TCG_TPM)", env.kernel_release),
                      "use a kernel with CONFIG_TCG_TPM, as Debian's have");
  }
  return make_check("kernel", kOk, env.kernel_release);
}

// A kernel that makes a key on every TPM it finds drops a read-only device without a trace.
std::optional<Check> kernel_hmac(const Environment& env) {
  std::ifstream config(env.root / "boot" / ("config-" + env.kernel_release));
  for (std::string line; std::getline(config, line);) {
    if (line == "CONFIG_TCG_TPM2_HMAC=y") {
      return make_check("kernel-hmac", kWarning,
                        "this kernel makes a key on each TPM it registers (CONFIG_TCG_TPM2_HMAC), "
                        "which a read-only device refuses",
                        "create read-only devices with --compat linux-hmac");
    }
  }
  return std::nullopt;
}

bool module_installed(const Environment& env) {
  const fs::path modules = env.root / "lib/modules" / env.kernel_release;
  for (const char* folder : {"updates/dkms", "updates", "extra", "kernel/drivers/char/tpm"}) {
    for (const char* suffix : {"", ".xz", ".zst", ".gz"}) {
      if (there(modules / folder / (std::string("vtpm.ko") + suffix))) return true;
    }
  }
  return false;
}

Check module_loaded(const Environment& env, bool answers) {
  if (there(env.root / "sys/module/vtpm")) {
    const std::string version = first_line(env.root / "sys/module/vtpm/version");
    return make_check("module", kOk, version.empty() ? "vtpm is loaded" : "vtpm " + version);
  }
  const Status status = answers ? kWarning : kFail;
  if (module_installed(env)) {
    return make_check("module", status, "vtpm is installed but not loaded",
                      "modprobe vtpm; if it refuses, 'dmesg' says why");
  }
  return make_check("module", status,
                    fmt::format("vtpm is not loaded and not installed for {}", env.kernel_release),
                    "install it for this kernel ('dkms status vtpm'), or run vtpmd --no-kernel "
                    "for devices on sockets only");
}

Check control_node(const Environment& env, bool answers) {
  const auto status = look(env.root / "dev/vtpm");
  if (!status) {
    const bool loaded = there(env.root / "sys/module/vtpm");
    return make_check("control-node", answers && !loaded ? kWarning : kFail,
                      "there is no /dev/vtpm",
                      loaded ? "the module is loaded, so udev or devtmpfs has not made it: "
                               "'udevadm trigger', and look whether /dev is a devtmpfs"
                             : "load the module first: modprobe vtpm");
  }
  if (!S_ISCHR(status->st_mode)) {
    return make_check("control-node", kFail, "/dev/vtpm is not a character device",
                      "remove it and load the module again: modprobe -r vtpm && modprobe vtpm");
  }
  if ((status->st_mode & kGroupOrOthers) != 0 || status->st_uid != 0) {
    return make_check("control-node", kWarning,
                      fmt::format("/dev/vtpm belongs to {}", ownership(env.root / "dev/vtpm")),
                      "it is for root alone: chown root:root /dev/vtpm && chmod 0600 /dev/vtpm");
  }
  return make_check("control-node", kOk, "/dev/vtpm");
}

// A unit and whether it runs. A vtpmd that answers may have been started by other means.
Check unit(const Environment& env, const std::string& name, const std::string& check,
           bool answers) {
  const Status trouble = answers ? kWarning : kFail;
  bool installed = false;
  for (const char* folder :
       {"etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system",
        "usr/lib/systemd/system", "lib/systemd/system"}) {
    installed = installed || there(env.root / folder / (name + ".service"));
  }
  if (!installed) {
    return make_check(check, trouble, fmt::format("there is no {}.service", name),
                      "install the package of vtpmd");
  }
  const fs::path processes =
      env.root / "sys/fs/cgroup/system.slice" / (name + ".service") / "cgroup.procs";
  if (first_line(processes).empty()) {
    return make_check(check, trouble, fmt::format("{}.service is not running", name),
                      fmt::format("systemctl start {0}; if it fails: journalctl -u {0} -b", name));
  }
  return make_check(check, kOk, fmt::format("{}.service is running", name));
}

std::vector<Check> units(const Environment& env, bool answers) {
  if (!there(env.root / "run/systemd/system")) {
    return {make_check("unit", answers ? kOk : kWarning, "this system is not run by systemd",
                       answers ? "" : "start vtpmd by your own means")};
  }
  return {unit(env, "vtpmd", "unit", answers), unit(env, "vtpm-engine", "engine-unit", answers)};
}

Check run_dir(const fs::path& folder) {
  const auto status = look(folder);
  const std::string path = folder.string();
  if (!status) {
    return make_check("run-dir", kFail, fmt::format("{}: {}", path, std::strerror(errno)),
                      "vtpmd makes it when it starts: systemctl start vtpmd");
  }
  if (!S_ISDIR(status->st_mode)) {
    return make_check("run-dir", kFail, fmt::format("{} is not a directory", path),
                      "remove it and restart vtpmd");
  }
  if ((status->st_mode & 0002) != 0) {
    return make_check(
        "run-dir", kFail,
        fmt::format("anyone can put a false socket into {} ({})", path, ownership(folder)),
        fmt::format("chmod o-w {}, restart vtpmd", path));
  }
  return make_check("run-dir", kOk, fmt::format("{} ({})", path, ownership(folder)));
}

Check socket_check(const fs::path& socket) {
  const std::string path = socket.string();
  const std::string name = socket.stem().string() + "-socket";
  const auto status = look(socket);
  if (!status && errno == EACCES) {
    return make_check(name, kWarning, fmt::format("you may not look at {}", path),
                      "run doctor as root to see all");
  }
  if (!status) {
    return make_check(name, kFail, fmt::format("there is no {}", path),
                      "vtpmd makes it when it starts: systemctl start vtpmd");
  }
  if (!S_ISSOCK(status->st_mode)) {
    return make_check(name, kFail, fmt::format("{} is not a socket", path),
                      "remove it and restart vtpmd");
  }
  if ((status->st_mode & kOthers) != 0 && socket.filename() == "admin.sock") {
    return make_check(
        name, kFail,
        fmt::format("everybody may control all devices: {} belongs to {}", path, ownership(socket)),
        fmt::format("chmod 0660 {}; look at vtpmd's --admin-group", path));
  }
  switch (const int error = try_connect(socket)) {
    case 0: return make_check(name, kOk, fmt::format("{} ({})", path, ownership(socket)));
    case EACCES:
      return make_check(name, kWarning,
                        fmt::format("you may not use {} ({})", path, ownership(socket)),
                        "run as root or join the group, if you should be able to");
    case ECONNREFUSED:
      return make_check(name, kFail, fmt::format("{} is there, but nobody listens", path),
                        "vtpmd has stopped: systemctl restart vtpmd");
    default:
      return make_check(name, kFail, fmt::format("{}: {}", path, std::strerror(error)),
                        "restart vtpmd: systemctl restart vtpmd");
  }
}

}  // namespace

Check make_check(std::string name, Status status, std::string finding, std::string remedy) {
  Check check;
  check.set_name(std::move(name));
  check.set_status(status);
  check.set_finding(std::move(finding));
  check.set_remedy(std::move(remedy));
  return check;
}

std::vector<Check> local_checks(const Environment& environment,
                                const std::vector<fs::path>& sockets, bool answers) {
  std::vector<Check> checks{kernel(environment, answers)};
  if (auto hmac = kernel_hmac(environment)) checks.push_back(std::move(*hmac));
  checks.push_back(module_loaded(environment, answers));
  checks.push_back(control_node(environment, answers));
  std::ranges::move(units(environment, answers), std::back_inserter(checks));
  checks.push_back(run_dir(sockets.front().parent_path()));
  for (const fs::path& socket : sockets) checks.push_back(socket_check(socket));
  return checks;
}

}  // namespace vtpm::ctl
