// SPDX-License-Identifier: Apache-2.0
#include "api/services.h"

#include "api/convert.h"

namespace vtpm::api {
namespace {

grpc::Status reply_with(const Result<device::View>& view, grpc::ServerContext& context,
                        v1::Device* reply) {
  if (!view) return to_status(view.error(), context);
  *reply = to_proto(*view);
  return grpc::Status::OK;
}

grpc::Status reply_with(const Result<device::Manager::Root>& root, grpc::ServerContext& context,
                        v1::CaCertificateReply* reply) {
  if (!root) return to_status(root.error(), context);
  reply->set_pem(root->description.pem);
  reply->set_subject(root->description.subject);
  reply->set_sha256(std::string(as_text(root->description.sha256)));
  reply->set_not_before(root->description.not_before);
  reply->set_not_after(root->description.not_after);
  reply->set_families(root->families);
  for (const std::string& pem : root->between) reply->add_between(pem);
  reply->set_requested(root->requested);
  reply->set_key_is_outside(root->key_is_outside);
  return grpc::Status::OK;
}

identity::IssuerSubject to_subject(const v1::CaSubject& subject) {
  return {.common_name = subject.common_name(), .organization = subject.organization()};
}

using Source = device::Manager::Source;

Result<device::View> clone(device::Manager& manager, const v1::CloneRequest& request) {
  if (request.source().empty())
    return fail(ErrorCode::invalid_argument, "it is not said what to clone");
  v1::CreateRequest changes;
  changes.set_name(request.name());
  changes.set_mode(request.mode());
  if (request.has_owner()) changes.set_owner(request.owner());
  changes.set_socket_path(request.socket_path());
  VTPM_TRY(store::Settings base, manager.settings_from(request.source(), Source::any));
  VTPM_TRY(const store::Settings settings, to_settings(changes, std::move(base)));
  return manager.clone(
      request.source(), settings,
      {.fresh_storage = request.fresh_storage(), .cold = request.cold(), .start = request.start()});
}

Result<device::View> create(device::Manager& manager, const v1::CreateRequest& request) {
  store::Settings base = default_settings();
  if (!request.from().empty()) {
    VTPM_TRY(base, manager.settings_from(request.from(), Source::without_identity));
  }
  VTPM_TRY(const store::Settings settings, to_settings(request, std::move(base)));
  return manager.create(settings, request.start());
}

}  // namespace

grpc::Status ObserveService::Version(grpc::ServerContext*, const v1::VersionRequest*,
                                     v1::VersionReply* reply) {
  const device::Versions versions = manager_.versions();
  reply->set_vtpmd(VTPM_VERSION);
  reply->set_libtpms(libtpms_version_);
  reply->set_module(versions.module);
  reply->set_module_abi_major(versions.abi_major);
  reply->set_module_abi_minor(versions.abi_minor);
  reply->set_store(versions.store);
  reply->set_kernel(versions.kernel);
  return grpc::Status::OK;
}

grpc::Status ObserveService::List(grpc::ServerContext* context, const v1::ListRequest* request,
                                  v1::ListReply* reply) {
  const auto views = manager_.list(request->after(), request->limit(), request->snapshots());
  if (!views) return to_status(views.error(), *context);
  for (const device::View& view : *views) *reply->add_devices() = to_proto(view);
  return grpc::Status::OK;
}

grpc::Status ObserveService::Show(grpc::ServerContext* context, const v1::ShowRequest* request,
                                  v1::Device* reply) {
  return reply_with(manager_.show(request->device()), *context, reply);
}

grpc::Status ObserveService::Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                                   grpc::ServerWriter<v1::Event>* writer) {
  const auto subscription = manager_.bulletin().subscribe();
  std::optional<Uuid> only;
  if (!request->device().empty()) {
    const auto view = manager_.show(request->device());
    if (!view) return to_status(view.error(), *context);
    only = view->uuid;
  }
  writer->SendInitialMetadata();  // the watcher knows from here on that it misses nothing
  while (!context->IsCancelled() && !subscription->closed()) {
    const auto notice = subscription->next(std::chrono::milliseconds(500));
    if (!notice || (only && notice->view.uuid != *only)) continue;
    if (!writer->Write(to_proto(*notice))) break;
  }
  return grpc::Status::OK;
}

grpc::Status ObserveService::Denied(grpc::ServerContext* context, const v1::DeniedRequest* request,
                                    v1::DeniedReply* reply) {
  const auto refusals = manager_.refusals(request->device(), request->limit());
  if (!refusals) return to_status(refusals.error(), *context);
  for (const device::Refusal& refusal : *refusals) *reply->add_commands() = to_proto(refusal);
  return grpc::Status::OK;
}

grpc::Status ObserveService::EventLog(grpc::ServerContext* context,
                                      const v1::EventLogRequest* request,
                                      v1::EventLogReply* reply) {
  const auto log = manager_.event_log(request->device());
  if (!log) return to_status(log.error(), *context);
  reply->set_log(std::string(as_text(*log)));
  return grpc::Status::OK;
}

grpc::Status ObserveService::Doctor(grpc::ServerContext* context, const v1::DoctorRequest*,
                                    v1::DoctorReply* reply) {
  const auto findings = manager_.examine();
  if (!findings) return to_status(findings.error(), *context);
  for (const device::Finding& finding : *findings) *reply->add_checks() = to_proto(finding);
  return grpc::Status::OK;
}

grpc::Status ObserveService::Lineage(grpc::ServerContext* context,
                                     const v1::LineageRequest* request, v1::LineageReply* reply) {
  const auto lineage = manager_.lineage(request->device());
  if (!lineage) return to_status(lineage.error(), *context);
  reply->set_uuid(lineage->uuid.to_string());
  reply->set_name(lineage->name);
  reply->set_root(lineage->root);
  reply->set_family(lineage->family);
  for (const auto& [name, pem] : lineage->certificates) {
    auto* const certificate = reply->add_certificates();
    certificate->set_name(name);
    certificate->set_pem(pem);
  }
  reply->set_log(lineage->log);
  for (const std::string& event : lineage->events) reply->add_events(event);
  for (const auto& [uuid, name] : lineage->members) {
    auto* const member = reply->add_members();
    member->set_uuid(uuid.to_string());
    member->set_name(name);
  }
  return grpc::Status::OK;
}

grpc::Status ObserveService::CaCertificate(grpc::ServerContext* context,
                                           const v1::CaCertificateRequest*,
                                           v1::CaCertificateReply* reply) {
  return reply_with(manager_.root_certificate(), *context, reply);
}

grpc::Status AdminService::Create(grpc::ServerContext* context, const v1::CreateRequest* request,
                                  v1::Device* reply) {
  return reply_with(create(manager_, *request), *context, reply);
}

grpc::Status AdminService::Clone(grpc::ServerContext* context, const v1::CloneRequest* request,
                                 v1::Device* reply) {
  return reply_with(clone(manager_, *request), *context, reply);
}

grpc::Status AdminService::Rebase(grpc::ServerContext* context, const v1::RebaseRequest* request,
                                  v1::Device* reply) {
  return reply_with(manager_.rebase(request->device()), *context, reply);
}

grpc::Status AdminService::Snapshot(grpc::ServerContext* context,
                                    const v1::SnapshotRequest* request, v1::Device* reply) {
  return reply_with(manager_.snapshot(request->snapshot()), *context, reply);
}

grpc::Status AdminService::Rollback(grpc::ServerContext* context,
                                    const v1::RollbackRequest* request, v1::Device* reply) {
  return reply_with(
      manager_.rollback(request->snapshot(), {.delete_newer = request->delete_newer(),
                                              .stop = request->stop(),
                                              .start = request->start(),
                                              .release_number = request->release_number()}),
      *context, reply);
}

grpc::Status AdminService::Set(grpc::ServerContext* context, const v1::SetRequest* request,
                               v1::Device* reply) {
  const auto changes = to_changes(*request);
  if (!changes) return to_status(changes.error(), *context);
  return reply_with(manager_.set(request->device(), *changes), *context, reply);
}

grpc::Status AdminService::Start(grpc::ServerContext* context, const v1::StartRequest* request,
                                 v1::Device* reply) {
  auto measured = to_events(request->measured());
  if (!measured) return to_status(measured.error(), *context);
  return reply_with(manager_.start(request->device(), *std::move(measured)), *context, reply);
}

grpc::Status AdminService::Stop(grpc::ServerContext* context, const v1::StopRequest* request,
                                v1::Device* reply) {
  return reply_with(manager_.stop(request->device(), request->release_number()), *context, reply);
}

grpc::Status AdminService::Delete(grpc::ServerContext* context, const v1::DeleteRequest* request,
                                  v1::DeleteReply*) {
  const auto removed =
      manager_.remove(request->device(), request->release_number(), request->force());
  return removed ? grpc::Status::OK : to_status(removed.error(), *context);
}

grpc::Status AdminService::PowerCycle(grpc::ServerContext* context,
                                      const v1::PowerCycleRequest* request, v1::Device* reply) {
  auto measured = to_events(request->measured());
  if (!measured) return to_status(measured.error(), *context);
  return reply_with(manager_.power_cycle(request->device(), *std::move(measured)), *context, reply);
}

grpc::Status AdminService::SetMode(grpc::ServerContext* context, const v1::SetModeRequest* request,
                                   v1::Device* reply) {
  if (request->mode() != v1::READ_ONLY && request->mode() != v1::READ_WRITE)
    return to_status(Error{ErrorCode::invalid_argument, "there is no such mode",
                           "ask for READ_ONLY or READ_WRITE"},
                     *context);
  const auto mode = request->mode() == v1::READ_WRITE ? privsep::DeviceMode::read_write
                                                      : privsep::DeviceMode::read_only;
  return reply_with(manager_.set_mode(request->device(), mode), *context, reply);
}

grpc::Status AdminService::Generalize(grpc::ServerContext* context,
                                      const v1::GeneralizeRequest* request, v1::Device* reply) {
  return reply_with(manager_.generalize(request->device()), *context, reply);
}

grpc::Status AdminService::Park(grpc::ServerContext* context, const v1::ParkRequest* request,
                                v1::Device* reply) {
  return reply_with(manager_.park(request->device()), *context, reply);
}

grpc::Status AdminService::Release(grpc::ServerContext* context, const v1::ReleaseRequest* request,
                                   v1::ReleaseReply* reply) {
  const auto released = manager_.release(request->device());
  if (!released) return to_status(released.error(), *context);
  reply->set_released(*released);
  return grpc::Status::OK;
}

grpc::Status AdminService::RotateHostKey(grpc::ServerContext* context,
                                         const v1::RotateHostKeyRequest*,
                                         v1::RotateHostKeyReply* reply) {
  const auto devices = manager_.rotate_host_key();
  if (!devices) return to_status(devices.error(), *context);
  reply->set_devices(static_cast<std::uint32_t>(*devices));
  return grpc::Status::OK;
}

grpc::Status AdminService::Recipient(grpc::ServerContext* context, const v1::RecipientRequest*,
                                     v1::RecipientReply* reply) {
  auto pem = manager_.recipient();
  if (!pem) return to_status(pem.error(), *context);
  reply->set_pem(*std::move(pem));
  return grpc::Status::OK;
}

grpc::Status AdminService::Export(grpc::ServerContext* context, const v1::ExportRequest* request,
                                  v1::ExportReply* reply) {
  const auto file = manager_.export_device(request->device(), request->recipient());
  if (!file) return to_status(file.error(), *context);
  reply->set_file(std::string(as_text(*file)));
  return grpc::Status::OK;
}

grpc::Status AdminService::Import(grpc::ServerContext* context, const v1::ImportRequest* request,
                                  v1::Device* reply) {
  std::optional<std::string> owner;
  if (request->has_owner()) owner = request->owner();
  return reply_with(
      manager_.import_device(to_bytes(as_bytes(request->file())), request->name(), owner), *context,
      reply);
}

grpc::Status AdminService::CaInit(grpc::ServerContext* context, const v1::CaInitRequest* request,
                                  v1::CaCertificateReply* reply) {
  return reply_with(manager_.make_authority(to_subject(request->subject()), request->days()),
                    *context, reply);
}

grpc::Status AdminService::CaRequest(grpc::ServerContext* context,
                                     const v1::CaRequestRequest* request,
                                     v1::CaRequestReply* reply) {
  auto pem = manager_.request_authority(to_subject(request->subject()));
  if (!pem) return to_status(pem.error(), *context);
  reply->set_pem(*std::move(pem));
  return grpc::Status::OK;
}

grpc::Status AdminService::CaImport(grpc::ServerContext* context,
                                    const v1::CaImportRequest* request,
                                    v1::CaCertificateReply* reply) {
  return reply_with(
      manager_.import_authority(request->pem(), request->keep_families(), request->external_key()),
      *context, reply);
}

grpc::Status AdminService::RevocationLists(grpc::ServerContext* context,
                                           const v1::RevocationListsRequest* request,
                                           v1::RevocationListsReply* reply) {
  constexpr std::uint32_t kMostDays = 3650;
  if (request->days() == 0 || request->days() > kMostDays)
    return to_status(Error{ErrorCode::invalid_argument, "a list is for 1 to 3650 days", ""},
                     *context);
  auto lists = manager_.revocation_lists(request->device(), request->days());
  if (!lists) return to_status(lists.error(), *context);
  for (const auto& [issuer_key, der, entries] : lists->lists) {
    auto* const list = reply->add_lists();
    list->set_issuer_key(std::string(as_text(issuer_key)));
    list->set_der(std::string(as_text(der)));
    list->set_entries(static_cast<std::uint32_t>(entries));
  }
  reply->set_number(lists->number);
  reply->set_elsewhere(static_cast<std::uint32_t>(lists->elsewhere));
  return grpc::Status::OK;
}

}  // namespace vtpm::api
