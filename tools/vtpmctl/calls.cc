// SPDX-License-Identifier: Apache-2.0
// The calls of Session: with client.cc all that knows gRPC, whose headers no verb has to compile.
#include <grpcpp/grpcpp.h>

#include "api/vtpm.grpc.pb.h"
#include "session.h"

namespace vtpm::ctl {
namespace {

template <class Stub, class Request, class Reply>
Outcome<Reply> unary(Session& session,
                     grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                     const Request& request, std::chrono::milliseconds timeout) {
  const Role role = std::is_same_v<Stub, v1::Admin::Stub> ? Role::admin : Role::observe;
  auto connection = session.connect(role);
  if (!connection) return tl::unexpected<Failure>(connection.error());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  Stub stub(connection->channel);
  Reply reply;
  const grpc::Status status = (stub.*method)(&context, request, &reply);
  if (!status.ok()) {
    return tl::unexpected<Failure>(failure_of(status, context, role, *connection));
  }
  return reply;
}

}  // namespace

Outcome<v1::VersionReply> Session::call(const v1::VersionRequest& request) {
  return unary(*this, &v1::Observe::Stub::Version, request, environment_.call_timeout);
}
Outcome<v1::ListReply> Session::call(const v1::ListRequest& request) {
  return unary(*this, &v1::Observe::Stub::List, request, environment_.call_timeout);
}
Outcome<v1::Device> Session::call(const v1::ShowRequest& request) {
  return unary(*this, &v1::Observe::Stub::Show, request, environment_.call_timeout);
}
Outcome<v1::DeniedReply> Session::call(const v1::DeniedRequest& request) {
  return unary(*this, &v1::Observe::Stub::Denied, request, environment_.call_timeout);
}
Outcome<v1::EventLogReply> Session::call(const v1::EventLogRequest& request) {
  return unary(*this, &v1::Observe::Stub::EventLog, request, environment_.call_timeout);
}
Outcome<v1::DoctorReply> Session::call(const v1::DoctorRequest& request) {
  return unary(*this, &v1::Observe::Stub::Doctor, request, environment_.doctor_timeout);
}
Outcome<v1::LineageReply> Session::call(const v1::LineageRequest& request) {
  return unary(*this, &v1::Observe::Stub::Lineage, request, environment_.call_timeout);
}
Outcome<v1::CaCertificateReply> Session::call(const v1::CaCertificateRequest& request) {
  return unary(*this, &v1::Observe::Stub::CaCertificate, request, environment_.call_timeout);
}
Outcome<v1::Device> Session::call(const v1::CreateRequest& request) {
  return unary(*this, &v1::Admin::Stub::Create, request, environment_.call_timeout);
}
Outcome<v1::Device> Session::call(const v1::CloneRequest& request) {
  return unary(*this, &v1::Admin::Stub::Clone, request, environment_.call_timeout);
}
Outcome<v1::Device> Session::call(const v1::RebaseRequest& request) {
  return unary(*this, &v1::Admin::Stub::Rebase, request, environment_.call_timeout);
}
Outcome<v1::Device> Session::call(const v1::SnapshotRequest& request) {
  return unary(*this, &v1::Admin::Stub::Snapshot, request, environment_.call_timeout);
}
Outcome<v1::Device> Session::call(const v1::RollbackRequest& request) {
  return unary(*this, &v1::Admin::Stub::Rollback, request, environment_.call_timeout);
}
Outcome<v1::Device> Session::call(const v1::SetRequest& request) {
  return unary(*this, &v1::Admin::Stub::Set, request, environment_.call_timeout);
}
Outcome<v1::Device> Session::call(const v1::StartRequest& request) {
  return unary(*this, &v1::Admin::Stub::Start, request, environment_.call_timeout);
}
Outcome<v1::Device> Session::call(const v1::StopRequest& request) {
  return unary(*this, &v1::Admin::Stub::Stop, request, environment_.call_timeout);
}
Outcome<v1::DeleteReply> Session::call(const v1::DeleteRequest& request) {
  return unary(*this, &v1::Admin::Stub::Delete, request, environment_.call_timeout);
}
Outcome<v1::Device> Session::call(const v1::PowerCycleRequest& request) {
  return unary(*this, &v1::Admin::Stub::PowerCycle, request, environment_.call_timeout);
}
Outcome<v1::Device> Session::call(const v1::SetModeRequest& request) {
  return unary(*this, &v1::Admin::Stub::SetMode, request, environment_.call_timeout);
}
Outcome<v1::Device> Session::call(const v1::GeneralizeRequest& request) {
  return unary(*this, &v1::Admin::Stub::Generalize, request, environment_.call_timeout);
}
Outcome<v1::Device> Session::call(const v1::ParkRequest& request) {
  return unary(*this, &v1::Admin::Stub::Park, request, environment_.call_timeout);
}
Outcome<v1::ReleaseReply> Session::call(const v1::ReleaseRequest& request) {
  return unary(*this, &v1::Admin::Stub::Release, request, environment_.call_timeout);
}
Outcome<v1::RecipientReply> Session::call(const v1::RecipientRequest& request) {
  return unary(*this, &v1::Admin::Stub::Recipient, request, environment_.call_timeout);
}
Outcome<v1::ExportReply> Session::call(const v1::ExportRequest& request) {
  return unary(*this, &v1::Admin::Stub::Export, request, environment_.call_timeout);
}
Outcome<v1::Device> Session::call(const v1::ImportRequest& request) {
  return unary(*this, &v1::Admin::Stub::Import, request, environment_.call_timeout);
}
Outcome<v1::RotateHostKeyReply> Session::call(const v1::RotateHostKeyRequest& request) {
  return unary(*this, &v1::Admin::Stub::RotateHostKey, request, environment_.call_timeout);
}
Outcome<v1::CaCertificateReply> Session::call(const v1::CaInitRequest& request) {
  return unary(*this, &v1::Admin::Stub::CaInit, request, environment_.call_timeout);
}
Outcome<v1::CaRequestReply> Session::call(const v1::CaRequestRequest& request) {
  return unary(*this, &v1::Admin::Stub::CaRequest, request, environment_.call_timeout);
}
Outcome<v1::CaCertificateReply> Session::call(const v1::CaImportRequest& request) {
  return unary(*this, &v1::Admin::Stub::CaImport, request, environment_.call_timeout);
}
Outcome<v1::RevocationListsReply> Session::call(const v1::RevocationListsRequest& request) {
  return unary(*this, &v1::Admin::Stub::RevocationLists, request, environment_.call_timeout);
}

Outcome<void> Session::watch(const v1::WatchRequest& request,
                             const std::function<bool(const v1::Event&)>& take) {
  auto connection = connect(Role::observe);
  if (!connection) return tl::unexpected<Failure>(connection.error());
  grpc::ClientContext context;  // no deadline: it lasts until it is interrupted
  v1::Observe::Stub stub(connection->channel);
  auto events = stub.Watch(&context, request);
  v1::Event event;
  bool taken = true;
  while (taken && events->Read(&event)) taken = take(event);
  if (!taken) context.TryCancel();
  const grpc::Status status = events->Finish();
  if (!taken || status.ok()) return {};
  return tl::unexpected<Failure>(failure_of(status, context, Role::observe, *connection));
}

}  // namespace vtpm::ctl
