// SPDX-License-Identifier: Apache-2.0
#include "device_text.h"

#include <algorithm>

#include "terminal_text.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

// Only a path that is what it should be is put into a line that people paste into a shell.
bool is_node(std::string_view path, std::string_view prefix) {
  if (!path.starts_with(prefix) || path.size() == prefix.size()) return false;
  path.remove_prefix(prefix.size());
  return path.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

std::string client_path(const v1::Device& device) {
  return device.device_path().empty() ? device.socket_path() : device.device_path();
}

std::string node_lines(const v1::Device& device) {
  std::string out;
  const auto line = [&](std::string_view what, const std::string& path) {
    if (!path.empty()) out += fmt::format("  {:<18}{}\n", what, printable(path));
  };
  line("device", device.device_path());
  line("resource manager", device.rm_device_path());
  line("socket", device.socket_path());
  if (!device.socket_path().empty()) line("control socket", device.socket_path() + ".ctrl");
  return out;
}

void tip_how_to_use(Session& session, const v1::Device& device) {
  const std::string& tpm = device.device_path();
  const std::string& rm = device.rm_device_path();
  if (!is_node(tpm, "/dev/tpm") || !is_node(rm, "/dev/tpmrm")) return;
  if (device.kind() == v1::CONTAINER) {
    session.tip(
        fmt::format("bind-mount it into the container: podman run --device {}:/dev/tpm0 --device "
                    "{}:/dev/tpmrm0 …",
                    tpm, rm));
  } else if (device.kind() == v1::VM) {
    session.tip(fmt::format("give it to QEMU: -tpmdev passthrough,id=tpm,path={}", tpm));
  }
}

void tip_number_held(Session& session, const std::string& device) {
  session.tip(fmt::format(
      "the number of its node is held, so that a container that still has the node never reaches "
      "another device's TPM; when its user is gone: vtpmctl release {}",
      shell_word(printable(device))));
}

}  // namespace vtpm::ctl
