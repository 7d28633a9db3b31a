// SPDX-License-Identifier: Apache-2.0
// The command line of vtpm-engine as a fork server.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"

namespace vtpm::privsep {

struct ForkServerOptions {
  std::string socket_path;  // --socket PATH: where managers find it
  uid_t manager = 0;        // --manager-user NAME|UID: who may, besides its own user
  int ready_fd = -1;        // --ready-fd N: told when it listens
  int resume_fd = -1;       // --resume N: its table of workers, after an exec of itself
};
Result<ForkServerOptions> parse_fork_server_options(int argc, char** argv);

}  // namespace vtpm::privsep
