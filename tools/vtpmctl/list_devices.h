// SPDX-License-Identifier: Apache-2.0
// All devices, by name, fetched in pages that stay below gRPC's limit of a message.
#pragma once

#include <vector>

#include "session.h"

namespace vtpm::ctl {

Outcome<std::vector<v1::Device>> list_devices(Session& session);
// The templates alone, or all but those.
Outcome<std::vector<v1::Device>> list_devices(Session& session, bool templates);

}  // namespace vtpm::ctl
