// SPDX-License-Identifier: Apache-2.0
#include "api/server.h"

#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>

namespace vtpm::api {
namespace {

// gRPC binds by name; a umask keeps the socket closed until its group is known.
class ClosedUmask {
 public:
  ClosedUmask() : old_(::umask(0177)) {}
  ~ClosedUmask() { ::umask(old_); }
  ClosedUmask(const ClosedUmask&) = delete;
  ClosedUmask& operator=(const ClosedUmask&) = delete;

 private:
  mode_t old_;
};

Result<void> give_to_group(const std::string& path, const std::string& group) {
  if (group.empty()) return {};
  std::array<char, 4096> buffer{};
  struct group entry{};
  struct group* found = nullptr;
  if (::getgrnam_r(group.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 ||
      found == nullptr)
    return fail(ErrorCode::not_found, "there is no group " + group, "groupadd --system " + group);
  if (::chown(path.c_str(), static_cast<uid_t>(-1), entry.gr_gid) != 0 ||
      ::chmod(path.c_str(), 0660) != 0)
    return fail_errno("cannot give " + path + " to its group", errno);
  return {};
}

Result<std::unique_ptr<grpc::Server>> listen(const std::string& path, const std::string& group,
                                             std::initializer_list<grpc::Service*> services) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + path, grpc::InsecureServerCredentials());
  builder.SetMaxReceiveMessageSize(64 * 1024);
  // Two threads wait for calls; a burst of slow ones must not take the host's memory.
  grpc::ResourceQuota quota;
  quota.SetMaxThreads(64);
  builder.SetResourceQuota(quota);
  for (grpc::Service* service : services) builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server;
  {
    const ClosedUmask closed;
    (void)::unlink(path.c_str());
    server = builder.BuildAndStart();
  }
  if (!server) return fail(ErrorCode::unavailable, "cannot listen on " + path);
  VTPM_CHECK(give_to_group(path, group));
  return server;
}

}  // namespace

Result<std::unique_ptr<Server>> Server::start(device::Manager& manager,
                                              const ServerOptions& options) {
  std::unique_ptr<Server> server(new Server(manager, options.libtpms_version));
  VTPM_TRY(server->admin_server_, listen(options.run_dir + "/admin.sock", options.admin_group,
                                         {&server->observe_, &server->admin_}));
  VTPM_TRY(server->observe_server_,
           listen(options.run_dir + "/observe.sock", options.observe_group, {&server->observe_}));
  return server;
}

Server::~Server() {
  const auto deadline = std::chrono::system_clock::now() + std::chrono::seconds(2);
  if (admin_server_) admin_server_->Shutdown(deadline);
  if (observe_server_) observe_server_->Shutdown(deadline);
}

}  // namespace vtpm::api
