// SPDX-License-Identifier: Apache-2.0
#include "device/kernel_control.h"

#include <fmt/format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace vtpm::device {
namespace {

// A request with its size filled in and everything else zero.
template <class T>
T request() {
  T value{};
  value.size = sizeof value;
  return value;
}

template <class T>
T request_for(const Uuid& uuid) {
  T value = request<T>();
  std::memcpy(value.uuid, uuid.bytes.data(), sizeof value.uuid);
  return value;
}

template <class T>
Result<void> call(int fd, unsigned long number, T& argument, std::string_view what) {
  while (::ioctl(fd, number, &argument) != 0) {
    if (errno == EINTR) continue;
    if (errno == EUSERS || errno == ENOSPC)
      return fail(ErrorCode::full, fmt::format("{}: too many devices", what),
                  "release numbers of stopped devices with 'vtpmctl release --all' once their "
                  "containers are gone, or raise max_devices of the vtpm module");
    if (errno == ESTALE)
      return fail(ErrorCode::corrupt,
                  fmt::format("{}: its power was cycled since its state was kept", what));
    return fail_errno(what, errno);
  }
  return {};
}

template <class T>
Uuid uuid_from(const T& source) {
  Uuid uuid;
  std::memcpy(uuid.bytes.data(), source.uuid, uuid.bytes.size());
  return uuid;
}

}  // namespace

Uuid uuid_of(const vtpm_info& info) { return uuid_from(info); }
Uuid uuid_of(const vtpm_event& event) { return uuid_from(event); }

Result<KernelControl> KernelControl::take(UniqueFd opened, int error) {
  if (!opened) {
    if (error == ENOENT)
      return fail(
          ErrorCode::unavailable, "the kernel module vtpm is not loaded",
          "load it with 'modprobe vtpm', or run vtpmd with --no-kernel for socket nodes only");
    return fail_errno("cannot open /dev/vtpm", error,
                      "the fork server (vtpm-engine) needs CAP_SYS_ADMIN to open it");
  }
  KernelControl control(std::move(opened));
  VTPM_TRY(const vtpm_version version, control.version());
  if (version.abi_major != VTPM_ABI_MAJOR)
    return fail(ErrorCode::unsupported,
                fmt::format("the vtpm module speaks version {}.{}, vtpmd {}.{}", version.abi_major,
                            version.abi_minor, VTPM_ABI_MAJOR, VTPM_ABI_MINOR),
                "install module and vtpmd of one release, then reload the module");
  return control;
}

Result<KernelControl::Created> KernelControl::create(const Uuid& uuid, const std::string& label,
                                                     std::uint32_t command_timeout_ms,
                                                     std::uint32_t detach_timeout_ms) {
  auto r = request_for<vtpm_create>(uuid);
  std::memcpy(r.label, label.data(), std::min(label.size(), sizeof r.label - 1));
  r.command_timeout_ms = command_timeout_ms;
  r.detach_timeout_ms = detach_timeout_ms;
  VTPM_CHECK(call(fd_.get(), VTPM_IOC_CREATE, r, "cannot make a TPM device"));
  Created created;
  created.engine.reset(r.engine_fd);
  created.node = {r.tpm_number, r.dev_major, r.dev_minor, r.devrm_major, r.devrm_minor};
  std::memcpy(created.power_id.data(), r.power_id, created.power_id.size());
  return created;
}

Result<KernelControl::Attached> KernelControl::attach(const Uuid& uuid, const PowerId& power_id) {
  auto r = request_for<vtpm_attach>(uuid);
  std::memcpy(r.power_id, power_id.data(), power_id.size());
  VTPM_CHECK(call(fd_.get(), VTPM_IOC_ATTACH, r, "cannot attach an engine to the TPM device"));
  return Attached{UniqueFd(r.engine_fd), r.sequence};
}

Result<void> KernelControl::destroy(const Uuid& uuid) {
  auto r = request_for<vtpm_target>(uuid);
  return call(fd_.get(), VTPM_IOC_DESTROY, r, "cannot destroy the TPM device");
}

Result<void> KernelControl::release_number(const Uuid& uuid, std::uint32_t number) {
  auto r = request_for<vtpm_target>(uuid);
  r.flags = VTPM_TARGET_NUMBER;
  r.tpm_number = number;
  return call(fd_.get(), VTPM_IOC_RELEASE_NUMBER, r, "cannot release the TPM device's number");
}

Result<void> KernelControl::wake(const Uuid& uuid) {
  auto r = request_for<vtpm_target>(uuid);
  return call(fd_.get(), VTPM_IOC_WAKE, r, "cannot wake the device's engine");
}

Result<PowerId> KernelControl::power_cycle(const Uuid& uuid) {
  auto r = request_for<vtpm_power_cycle>(uuid);
  VTPM_CHECK(call(fd_.get(), VTPM_IOC_POWER_CYCLE, r, "cannot power-cycle the TPM device"));
  PowerId id{};
  std::memcpy(id.data(), r.power_id, id.size());
  return id;
}

Result<std::optional<vtpm_info>> KernelControl::info(const Uuid& uuid) {
  auto r = request_for<vtpm_info>(uuid);
  const auto done = call(fd_.get(), VTPM_IOC_INFO, r, "cannot ask for the TPM device");
  if (!done) {
    if (done.error().code == ErrorCode::not_found) return std::nullopt;
    return tl::unexpected<Error>(done.error());
  }
  return r;
}

Result<std::vector<vtpm_info>> KernelControl::list() {
  std::vector<vtpm_info> all;
  std::vector<vtpm_info> page(128);
  std::uint64_t cursor = 0;
  for (;;) {
    auto r = request<vtpm_list>();
    for (vtpm_info& entry : page) entry = request<vtpm_info>();
    r.entries = reinterpret_cast<std::uintptr_t>(page.data());
    r.entry_size = sizeof(vtpm_info);
    r.count = static_cast<std::uint32_t>(page.size());
    r.cursor = cursor;
    VTPM_CHECK(call(fd_.get(), VTPM_IOC_LIST, r, "cannot list the TPM devices"));
    if (r.count == 0) return all;
    all.insert(all.end(), page.begin(), page.begin() + std::min<std::ptrdiff_t>(r.count, 128));
    cursor = r.cursor;
  }
}

Result<vtpm_version> KernelControl::version() {
  auto r = request<vtpm_version>();
  VTPM_CHECK(call(fd_.get(), VTPM_IOC_VERSION, r, "cannot ask for the module's version"));
  return r;
}

Result<std::vector<vtpm_event>> KernelControl::read_events() {
  std::array<vtpm_event, 64> buffer{};
  const ssize_t got = ::read(fd_.get(), buffer.data(), sizeof buffer);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return std::vector<vtpm_event>{};
    return fail_errno("cannot read events of the vtpm module", errno);
  }
  const std::size_t count = static_cast<std::size_t>(got) / sizeof(vtpm_event);
  return std::vector<vtpm_event>(buffer.begin(),
                                 buffer.begin() + static_cast<std::ptrdiff_t>(count));
}

}  // namespace vtpm::device
