// SPDX-License-Identifier: Apache-2.0
// Files that a person names, to be read whole. Their content is of anybody.
#pragma once

#include <string>

#include "environment.h"

namespace vtpm::ctl {

inline constexpr std::size_t kLargestInput = std::size_t{1} << 20;

Outcome<std::string> read_file(const std::string& path);

}  // namespace vtpm::ctl
