// SPDX-License-Identifier: Apache-2.0
// The gRPC services over a Manager. Each call runs on a thread of gRPC's and waits for the loop.
#pragma once

#include "api/vtpm.grpc.pb.h"
#include "device/manager.h"

namespace vtpm::api {

class ObserveService final : public v1::Observe::Service {
 public:
  ObserveService(device::Manager& manager, std::string libtpms_version)
      : manager_(manager), libtpms_version_(std::move(libtpms_version)) {}

  grpc::Status Version(grpc::ServerContext*, const v1::VersionRequest*, v1::VersionReply*) override;
  grpc::Status List(grpc::ServerContext*, const v1::ListRequest*, v1::ListReply*) override;
  grpc::Status Show(grpc::ServerContext*, const v1::ShowRequest*, v1::Device*) override;
  grpc::Status Watch(grpc::ServerContext*, const v1::WatchRequest*,
                     grpc::ServerWriter<v1::Event>*) override;
  grpc::Status Denied(grpc::ServerContext*, const v1::DeniedRequest*, v1::DeniedReply*) override;
  grpc::Status EventLog(grpc::ServerContext*, const v1::EventLogRequest*,
                        v1::EventLogReply*) override;
  grpc::Status Doctor(grpc::ServerContext*, const v1::DoctorRequest*, v1::DoctorReply*) override;
  grpc::Status Lineage(grpc::ServerContext* context, const v1::LineageRequest* request,
                       v1::LineageReply* reply) override;
  grpc::Status CaCertificate(grpc::ServerContext*, const v1::CaCertificateRequest*,
                             v1::CaCertificateReply*) override;

 private:
  device::Manager& manager_;
  std::string libtpms_version_;
};

class AdminService final : public v1::Admin::Service {
 public:
  explicit AdminService(device::Manager& manager) : manager_(manager) {}

  grpc::Status Create(grpc::ServerContext*, const v1::CreateRequest*, v1::Device*) override;
  grpc::Status Clone(grpc::ServerContext*, const v1::CloneRequest*, v1::Device*) override;
  grpc::Status Rebase(grpc::ServerContext*, const v1::RebaseRequest*, v1::Device*) override;
  grpc::Status Snapshot(grpc::ServerContext*, const v1::SnapshotRequest*, v1::Device*) override;
  grpc::Status Rollback(grpc::ServerContext*, const v1::RollbackRequest*, v1::Device*) override;
  grpc::Status Set(grpc::ServerContext*, const v1::SetRequest*, v1::Device*) override;
  grpc::Status Start(grpc::ServerContext*, const v1::StartRequest*, v1::Device*) override;
  grpc::Status Stop(grpc::ServerContext*, const v1::StopRequest*, v1::Device*) override;
  grpc::Status Delete(grpc::ServerContext*, const v1::DeleteRequest*, v1::DeleteReply*) override;
  grpc::Status PowerCycle(grpc::ServerContext*, const v1::PowerCycleRequest*, v1::Device*) override;
  grpc::Status SetMode(grpc::ServerContext*, const v1::SetModeRequest*, v1::Device*) override;
  grpc::Status Generalize(grpc::ServerContext*, const v1::GeneralizeRequest*, v1::Device*) override;
  grpc::Status Park(grpc::ServerContext*, const v1::ParkRequest*, v1::Device*) override;
  grpc::Status Release(grpc::ServerContext*, const v1::ReleaseRequest*, v1::ReleaseReply*) override;
  grpc::Status RotateHostKey(grpc::ServerContext*, const v1::RotateHostKeyRequest*,
                             v1::RotateHostKeyReply*) override;
  grpc::Status Recipient(grpc::ServerContext*, const v1::RecipientRequest*,
                         v1::RecipientReply*) override;
  grpc::Status Export(grpc::ServerContext*, const v1::ExportRequest*, v1::ExportReply*) override;
  grpc::Status Import(grpc::ServerContext*, const v1::ImportRequest*, v1::Device*) override;
  grpc::Status CaInit(grpc::ServerContext*, const v1::CaInitRequest*,
                      v1::CaCertificateReply*) override;
  grpc::Status CaRequest(grpc::ServerContext*, const v1::CaRequestRequest*,
                         v1::CaRequestReply*) override;
  grpc::Status CaImport(grpc::ServerContext*, const v1::CaImportRequest*,
                        v1::CaCertificateReply*) override;
  grpc::Status RevocationLists(grpc::ServerContext*, const v1::RevocationListsRequest*,
                               v1::RevocationListsReply*) override;

 private:
  device::Manager& manager_;
};

}  // namespace vtpm::api
