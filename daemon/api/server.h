// SPDX-License-Identifier: Apache-2.0
// Server: the API on two unix sockets, one a role.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "api/services.h"

namespace vtpm::api {

struct ServerOptions {
  std::string run_dir;
  std::string admin_group;    // empty: root alone may use the admin socket
  std::string observe_group;  // empty: root alone may use the observe socket
  std::string libtpms_version;
};

class Server {
 public:
  // Listens on RUN_DIR/admin.sock and RUN_DIR/observe.sock. Starts threads.
  static Result<std::unique_ptr<Server>> start(device::Manager& manager,
                                               const ServerOptions& options);
  ~Server();

 private:
  Server(device::Manager& manager, const std::string& libtpms_version)
      : observe_(manager, libtpms_version), admin_(manager) {}

  ObserveService observe_;
  AdminService admin_;
  std::unique_ptr<grpc::Server> admin_server_;
  std::unique_ptr<grpc::Server> observe_server_;
};

}  // namespace vtpm::api
