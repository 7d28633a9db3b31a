// SPDX-License-Identifier: Apache-2.0
// Checks that need no vtpmd: kernel, module, /dev/vtpm, unit, sockets. They only look.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "api/vtpm.pb.h"
#include "environment.h"

namespace vtpm::ctl {

using Check = v1::DoctorReply::Check;
using Status = v1::DoctorReply::Status;

Check make_check(std::string name, Status status, std::string finding, std::string remedy = {});

// `sockets`: those to look at, at least one, all in one directory. `answers`: vtpmd has answered,
// so a missing module may be meant (vtpmd --no-kernel) and is a warning only.
std::vector<Check> local_checks(const Environment& environment,
                                const std::vector<std::filesystem::path>& sockets, bool answers);

}  // namespace vtpm::ctl
