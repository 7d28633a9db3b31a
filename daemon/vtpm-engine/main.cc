// SPDX-License-Identifier: Apache-2.0
// vtpm-engine: the fork server and, in its children, the workers. vtpmd starts it, people do not.
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <iostream>

#include "base/log.h"
#include "engine/engine.h"
#include "privsep/fork_server.h"
#include "worker/worker.h"

int main(int argc, char** argv) {
  constexpr int kControl = 3;
  if (argc == 2 && std::strcmp(argv[1], "--version") == 0) {
    std::cout << "vtpm-engine " VTPM_VERSION " (libtpms " << vtpm::engine::libtpms_version()
              << ")\n";
    return 0;
  }
  if (argc != 2 || std::strcmp(argv[1], "--fork-server") != 0 || ::fcntl(kControl, F_GETFD) < 0) {
    std::cerr << "vtpm-engine: started by vtpmd, which gives it a socket as descriptor 3\n"
                 "  hint: start vtpmd; see vtpmd(8)\n";
    return 64;
  }
  vtpm::log::set_program("vtpm-engine");
  ::fcntl(kControl, F_SETFD, 0);  // stays open when a crash makes the server exec itself anew
  return vtpm::privsep::run_fork_server(
      vtpm::UniqueFd(kControl),
      {.warm_up = vtpm::engine::Engine::warm_up, .run_worker = vtpm::worker::run}, argv);
}
