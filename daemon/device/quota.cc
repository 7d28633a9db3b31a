// SPDX-License-Identifier: Apache-2.0
#include "device/quota.h"

#include <fmt/format.h>

#include "device/view.h"

namespace vtpm::device {
namespace {

std::uint64_t share_of(const store::Settings& settings) {
  if (settings.role == store::Role::retired) return kRetiredShare;
  return is_read_only(settings) ? kReadOnlyShare : kReadWriteShare;
}

}  // namespace

Result<void> check_owner_quota(const Quota& quota, const Holdings& now, const std::string& owner) {
  if (quota.devices_per_owner == 0 || owner.empty() || now.of_owner < quota.devices_per_owner)
    return {};
  return fail(ErrorCode::full,
              fmt::format("'{}' has {} devices, and may have {}", owner, now.of_owner,
                          quota.devices_per_owner),
              "delete one of them, or start vtpmd with a larger --devices-per-owner");
}

bool counts_for_owner(const store::Settings& settings) {
  return settings.role != store::Role::snapshot && settings.role != store::Role::retired &&
         settings.role != store::Role::moved;
}

Result<void> check_quota(const Quota& quota, const Holdings& now, const store::Settings& wanted) {
  if (counts_for_owner(wanted)) VTPM_CHECK(check_owner_quota(quota, now, wanted.owner));
  if (quota.store_bytes == 0) return {};
  const std::uint64_t taken = now.read_write * kReadWriteShare + now.read_only * kReadOnlyShare +
                              now.retired * kRetiredShare;
  const std::uint64_t share = share_of(wanted);
  if (taken <= quota.store_bytes && share <= quota.store_bytes - taken) return {};
  return fail(
      ErrorCode::full,
      fmt::format("one more device could make the store larger than its quota: {} of {} KiB "
                  "are promised, and it takes {} KiB",
                  taken / 1024, quota.store_bytes / 1024, share / 1024),
      "delete a device, or start vtpmd with a larger --store-quota");
}

}  // namespace vtpm::device
