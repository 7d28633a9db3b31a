// SPDX-License-Identifier: Apache-2.0
#include "list_devices.h"

namespace vtpm::ctl {

Outcome<std::vector<v1::Device>> list_devices(Session& session, Listed which) {
  constexpr int kPage = 500;
  std::vector<v1::Device> devices;
  v1::ListRequest request;
  request.set_limit(kPage);
  request.set_snapshots(which == Listed::snapshots);
  for (;;) {
    auto page = session.call(request);
    if (!page) return tl::unexpected<Failure>(page.error());
    auto& batch = *page->mutable_devices();
    const int size = batch.size();
    // The same page again would have no end.
    const bool advances = size > 0 && batch[size - 1].name() != request.after();
    if (!advances) break;
    request.set_after(batch[size - 1].name());
    for (v1::Device& device : batch) devices.push_back(std::move(device));
    if (size < kPage) break;
  }
  if (which == Listed::devices || which == Listed::templates)
    std::erase_if(devices, [which](const v1::Device& device) {
      return (device.role() == v1::TEMPLATE) != (which == Listed::templates);
    });
  return devices;
}

}  // namespace vtpm::ctl
