// SPDX-License-Identifier: Apache-2.0
// vtpm-engine: the fork server and, in its children, the workers. vtpmd or its unit starts it.
#include <cstring>
#include <iostream>

#include "base/log.h"
#include "engine/engine.h"
#include "privsep/fork_server.h"
#include "worker/worker.h"

int main(int argc, char** argv) {
  const std::string release =
      std::string(VTPM_VERSION " (libtpms ").append(vtpm::engine::libtpms_version()).append(")");
  if (argc == 2 && std::strcmp(argv[1], "--version") == 0) {
    std::cout << "vtpm-engine " << release << "\n";
    return 0;
  }
  const auto options = vtpm::privsep::parse_fork_server_options(argc, argv);
  if (!options) {
    std::cerr << "vtpm-engine: " << options.error().message
              << "\n  hint: vtpmd or vtpm-engine.service starts it; see vtpm-engine(8)\n";
    return 64;
  }
  vtpm::log::set_program("vtpm-engine");
  return vtpm::privsep::run_fork_server(*options,
                                        {.warm_up = vtpm::engine::Engine::warm_up,
                                         .run_worker = vtpm::worker::run,
                                         .release = release},
                                        argv);
}
