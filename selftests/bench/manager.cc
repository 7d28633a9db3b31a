// SPDX-License-Identifier: Apache-2.0
#include "manager.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <chrono>
#include <thread>

#include "base/unique_fd.h"

namespace bench {
namespace {

// Stub::Method by its address, so that there is one way to call all of them.
template <class Reply, class Stub, class Request>
Reply call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
           const Request& request, const char* what) {
  grpc::ClientContext context;
  Reply reply;
  const grpc::Status status = (stub.*method)(&context, request, &reply);
  if (!status.ok()) die(std::string(what) + ": " + status.error_message());
  return reply;
}

template <class Request>
Request about(const std::string& name) {
  Request request;
  request.set_device(name);
  return request;
}

}  // namespace

Manager::Manager(const std::string& socket) {
  const auto channel = grpc::CreateChannel("unix:" + socket, grpc::InsecureChannelCredentials());
  observe_ = v1::Observe::NewStub(channel);
  admin_ = v1::Admin::NewStub(channel);
}

v1::Device Manager::create(const v1::CreateRequest& request) {
  return call<v1::Device>(*admin_, &v1::Admin::Stub::Create, request, "create");
}
v1::Device Manager::clone(const v1::CloneRequest& request) {
  return call<v1::Device>(*admin_, &v1::Admin::Stub::Clone, request, "clone");
}
void Manager::snapshot(const std::string& name) {
  v1::SnapshotRequest request;
  request.set_snapshot(name);
  (void)call<v1::Device>(*admin_, &v1::Admin::Stub::Snapshot, request, "snapshot");
}
void Manager::roll_back(const std::string& snapshot) {
  v1::RollbackRequest request;
  request.set_snapshot(snapshot);
  (void)call<v1::Device>(*admin_, &v1::Admin::Stub::Rollback, request, "rollback");
}
v1::Device Manager::start(const std::string& name) {
  return call<v1::Device>(*admin_, &v1::Admin::Stub::Start, about<v1::StartRequest>(name), "start");
}
v1::Device Manager::set_mode(const std::string& name, v1::Mode mode) {
  auto request = about<v1::SetModeRequest>(name);
  request.set_mode(mode);
  return call<v1::Device>(*admin_, &v1::Admin::Stub::SetMode, request, "set-mode");
}
v1::Device Manager::park(const std::string& name) {
  // It may not have heard yet that a client has left the socket, or that it is on.
  for (int tries = 0;; tries++) {
    grpc::ClientContext context;
    v1::Device device;
    const grpc::Status status = admin_->Park(&context, about<v1::ParkRequest>(name), &device);
    if (status.ok()) return device;
    if (status.error_code() != grpc::StatusCode::FAILED_PRECONDITION || tries == 10'000)
      die("park: " + status.error_message());
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}
v1::Device Manager::show(const std::string& name) {
  return call<v1::Device>(*observe_, &v1::Observe::Stub::Show, about<v1::ShowRequest>(name),
                          "show");
}
std::vector<v1::Device> Manager::list() {
  const auto reply =
      call<v1::ListReply>(*observe_, &v1::Observe::Stub::List, v1::ListRequest(), "list");
  return {reply.devices().begin(), reply.devices().end()};
}
void Manager::stop(const std::string& name) {
  auto request = about<v1::StopRequest>(name);
  request.set_release_number(true);
  (void)call<v1::Device>(*admin_, &v1::Admin::Stub::Stop, request, "stop");
}
void Manager::remove(const std::string& name) {
  (void)call<v1::DeleteReply>(*admin_, &v1::Admin::Stub::Delete, about<v1::DeleteRequest>(name),
                              "delete");
}

v1::CreateRequest request_for(const std::string& name, v1::Mode mode, v1::Node node) {
  v1::CreateRequest request;
  request.set_name(name);
  request.set_mode(mode);
  request.set_node(node);
  return request;
}

v1::CloneRequest clone_request_for(const std::string& source, const std::string& name,
                                   v1::Mode mode) {
  v1::CloneRequest request;
  request.set_source(source);
  request.set_name(name);
  request.set_mode(mode);
  request.set_start(true);
  return request;
}

std::unique_ptr<Subject> open_device(const v1::Device& device) {
  return open_subject(device.node() == v1::KERNEL ? device.device_path() : device.socket_path());
}

SyncClock::SyncClock(const std::string& path) {
  if (path.empty()) return;
  const vtpm::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) die_errno(path);
  void* map = ::mmap(nullptr, 2 * sizeof(std::uint64_t), PROT_READ, MAP_SHARED, fd.get(), 0);
  if (map == MAP_FAILED) die_errno(path);
  words_ = static_cast<const volatile std::uint64_t*>(map);
}

SyncClock::Reading SyncClock::now() const {
  if (words_ == nullptr) return {};
  return {words_[0], static_cast<double>(words_[1]) / 1000};
}

}  // namespace bench
