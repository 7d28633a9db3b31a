// SPDX-License-Identifier: Apache-2.0
// A file that a person named for what a verb writes.
#pragma once

#include <string>
#include <string_view>

#include "environment.h"

namespace vtpm::ctl {

// In place of what it held.
Outcome<void> write_file(const std::string& path, std::string_view bytes);

}  // namespace vtpm::ctl
