// SPDX-License-Identifier: Apache-2.0
// The command line: global options, the verb, what to say if it is wrong.
#pragma once

#include <string>
#include <vector>

#include "environment.h"

namespace vtpm::ctl {

// One invocation; `arguments` without the program's name. Throws nothing.
Exit run(std::vector<std::string> arguments, Environment& environment);

}  // namespace vtpm::ctl
