// SPDX-License-Identifier: Apache-2.0
// All devices, by name, fetched in pages that stay below gRPC's limit of a message.
#pragma once

#include <vector>

#include "session.h"

namespace vtpm::ctl {

enum class Listed : std::uint8_t { devices, templates, devices_and_templates, snapshots };

Outcome<std::vector<v1::Device>> list_devices(Session& session, Listed which);

}  // namespace vtpm::ctl
