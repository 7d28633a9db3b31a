// SPDX-License-Identifier: Apache-2.0
// A file that a person named for what a verb writes.
#pragma once

#include <string>
#include <string_view>

#include "environment.h"

namespace vtpm::ctl {

// In place of what it held.
Outcome<void> write_file(const std::string& path, std::string_view bytes);
// And those above it; one that is there is fine.
Outcome<void> make_folder(const std::string& path);

}  // namespace vtpm::ctl
