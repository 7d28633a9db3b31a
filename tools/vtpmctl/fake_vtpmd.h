// SPDX-License-Identifier: Apache-2.0
// For tests: a vtpmd in this process on two sockets in a directory of its own, and vtpmctl run
// against it with a world made of strings.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <mutex>
#include <sstream>

#include "api/vtpm.grpc.pb.h"
#include "cli.h"
#include "session.h"

namespace vtpm::ctl {

class TempDir {
 public:
  TempDir() {
    std::string pattern = std::filesystem::temp_directory_path() / "vtpmctl.XXXXXX";
    path_ = ::mkdtemp(pattern.data());
    (void)::chmod(path_.c_str(), 0755);
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// What the two services answer. Set before the call, read after it: no lock.
struct FakeState {
  std::vector<v1::Device> devices;
  std::vector<v1::DeniedCommand> denied;
  std::vector<v1::Event> events;
  std::vector<v1::DoctorReply::Check> checks;
  v1::VersionReply version;
  v1::CaCertificateReply root;
  v1::RevocationListsReply lists;
  v1::LineageReply lineage;
  std::uint32_t held = 2;
  grpc::Status verdict;  // not OK: what every call gives
  std::string verdict_hint;
  std::vector<std::string> calls;  // "Start web"
  v1::CreateRequest created;
  v1::CloneRequest cloned;
  v1::RollbackRequest rolled_back;
  v1::SetRequest changed;
  v1::Measurements measured;  // by the last Start or PowerCycle

  grpc::Status judge(grpc::ServerContext* context, const std::string& call) {
    calls.push_back(call);
    if (!verdict.ok() && !verdict_hint.empty()) {
      context->AddTrailingMetadata("vtpm-hint", verdict_hint);
    }
    return verdict;
  }
  v1::Device* find(const std::string& name) {
    for (auto& device : devices) {
      if (device.name() == name || device.uuid() == name) return &device;
    }
    return nullptr;
  }
  grpc::Status give(const std::string& name, v1::Device* out) {
    const v1::Device* device = find(name);
    if (device == nullptr) return {grpc::StatusCode::NOT_FOUND, "no device '" + name + "'"};
    *out = *device;
    return grpc::Status::OK;
  }
};

#define VTPM_JUDGE(call) \
  if (auto verdict = state_.judge(context, call); !verdict.ok()) return verdict

class FakeObserve final : public v1::Observe::Service {
 public:
  explicit FakeObserve(FakeState& state) : state_(state) {}
  using Context = grpc::ServerContext;
  grpc::Status Version(Context* context, const v1::VersionRequest*,
                       v1::VersionReply* reply) override {
    VTPM_JUDGE("Version");
    *reply = state_.version;
    return grpc::Status::OK;
  }
  grpc::Status List(Context* context, const v1::ListRequest* request,
                    v1::ListReply* reply) override {
    VTPM_JUDGE("List " + request->after());
    for (const auto& device : state_.devices) {
      if (device.name() <= request->after()) continue;
      if ((device.role() == v1::SNAPSHOT) != request->snapshots()) continue;
      if (request->limit() != 0 && reply->devices_size() == static_cast<int>(request->limit()))
        break;
      *reply->add_devices() = device;
    }
    return grpc::Status::OK;
  }
  grpc::Status Show(Context* context, const v1::ShowRequest* request, v1::Device* reply) override {
    VTPM_JUDGE("Show " + request->device());
    return state_.give(request->device(), reply);
  }
  grpc::Status Watch(Context* context, const v1::WatchRequest* request,
                     grpc::ServerWriter<v1::Event>* writer) override {
    state_.calls.push_back("Watch " + request->device());
    for (const auto& event : state_.events) writer->Write(event);
    return state_.judge(context, "Watch ends");
  }
  grpc::Status Denied(Context* context, const v1::DeniedRequest* request,
                      v1::DeniedReply* reply) override {
    VTPM_JUDGE(fmt::format("Denied {} {}", request->device(), request->limit()));
    for (const auto& command : state_.denied) *reply->add_commands() = command;
    return grpc::Status::OK;
  }
  grpc::Status EventLog(Context* context, const v1::EventLogRequest* request,
                        v1::EventLogReply* reply) override {
    VTPM_JUDGE("EventLog " + request->device());
    reply->set_log(std::string("log\0", 4));
    return grpc::Status::OK;
  }
  grpc::Status Doctor(Context* context, const v1::DoctorRequest*, v1::DoctorReply* reply) override {
    VTPM_JUDGE("Doctor");
    for (const auto& check : state_.checks) *reply->add_checks() = check;
    return grpc::Status::OK;
  }
  grpc::Status Lineage(Context* context, const v1::LineageRequest* request,
                       v1::LineageReply* reply) override {
    VTPM_JUDGE("Lineage " + request->device());
    *reply = state_.lineage;
    return grpc::Status::OK;
  }
  grpc::Status CaCertificate(Context* context, const v1::CaCertificateRequest*,
                             v1::CaCertificateReply* reply) override {
    VTPM_JUDGE("CaCertificate");
    *reply = state_.root;
    return grpc::Status::OK;
  }

 private:
  FakeState& state_;
};

class FakeAdmin final : public v1::Admin::Service {
 public:
  explicit FakeAdmin(FakeState& state) : state_(state) {}
  using Context = grpc::ServerContext;
  grpc::Status Create(Context* context, const v1::CreateRequest* request,
                      v1::Device* reply) override {
    VTPM_JUDGE("Create " + request->name());
    state_.created = *request;
    return state_.give(request->name(), reply);
  }
  grpc::Status Clone(Context* context, const v1::CloneRequest* request,
                     v1::Device* reply) override {
    VTPM_JUDGE(fmt::format("Clone {} {}", request->source(), request->name()));
    state_.cloned = *request;
    return state_.give(request->name(), reply);
  }
  grpc::Status Rebase(Context* context, const v1::RebaseRequest* request,
                      v1::Device* reply) override {
    VTPM_JUDGE("Rebase " + request->device());
    return state_.give(request->device(), reply);
  }
  grpc::Status Snapshot(Context* context, const v1::SnapshotRequest* request,
                        v1::Device* reply) override {
    VTPM_JUDGE("Snapshot " + request->snapshot());
    return state_.give(request->snapshot(), reply);
  }
  grpc::Status Rollback(Context* context, const v1::RollbackRequest* request,
                        v1::Device* reply) override {
    VTPM_JUDGE("Rollback " + request->snapshot());
    state_.rolled_back = *request;
    return state_.give(request->snapshot().substr(0, request->snapshot().find('@')), reply);
  }
  grpc::Status Set(Context* context, const v1::SetRequest* request, v1::Device* reply) override {
    VTPM_JUDGE("Set " + request->device());
    state_.changed = *request;
    return state_.give(request->device(), reply);
  }
  grpc::Status Start(Context* context, const v1::StartRequest* request,
                     v1::Device* reply) override {
    VTPM_JUDGE("Start " + request->device());
    state_.measured = request->measured();
    return state_.give(request->device(), reply);
  }
  grpc::Status Stop(Context* context, const v1::StopRequest* request, v1::Device* reply) override {
    VTPM_JUDGE(fmt::format("Stop {} {}", request->device(), request->release_number()));
    return state_.give(request->device(), reply);
  }
  grpc::Status Delete(Context* context, const v1::DeleteRequest* request,
                      v1::DeleteReply*) override {
    VTPM_JUDGE(fmt::format("Delete {} {} {}", request->device(), request->force(),
                           request->release_number()));
    v1::Device found;
    return state_.give(request->device(), &found);
  }
  grpc::Status PowerCycle(Context* context, const v1::PowerCycleRequest* request,
                          v1::Device* reply) override {
    VTPM_JUDGE("PowerCycle " + request->device());
    state_.measured = request->measured();
    return state_.give(request->device(), reply);
  }
  grpc::Status SetMode(Context* context, const v1::SetModeRequest* request,
                       v1::Device* reply) override {
    VTPM_JUDGE(fmt::format("SetMode {} {}", request->device(), v1::Mode_Name(request->mode())));
    return state_.give(request->device(), reply);
  }
  grpc::Status Generalize(Context* context, const v1::GeneralizeRequest* request,
                          v1::Device* reply) override {
    VTPM_JUDGE("Generalize " + request->device());
    return state_.give(request->device(), reply);
  }
  grpc::Status Park(Context* context, const v1::ParkRequest* request, v1::Device* reply) override {
    VTPM_JUDGE("Park " + request->device());
    return state_.give(request->device(), reply);
  }
  grpc::Status Release(Context* context, const v1::ReleaseRequest* request,
                       v1::ReleaseReply* reply) override {
    VTPM_JUDGE("Release " + request->device());
    reply->set_released(state_.held);
    return grpc::Status::OK;
  }
  grpc::Status Recipient(Context* context, const v1::RecipientRequest*,
                         v1::RecipientReply* reply) override {
    VTPM_JUDGE("Recipient");
    reply->set_pem("a key\n");
    return grpc::Status::OK;
  }
  grpc::Status Export(Context* context, const v1::ExportRequest* request,
                      v1::ExportReply* reply) override {
    VTPM_JUDGE("Export " + request->device() + " to " + request->recipient());
    reply->set_file(std::string("file\0", 5));
    return grpc::Status::OK;
  }
  grpc::Status Import(Context* context, const v1::ImportRequest* request,
                      v1::Device* reply) override {
    VTPM_JUDGE(fmt::format("Import {} as {} of {}", request->file().size(), request->name(),
                           request->has_owner() ? request->owner() : "the same"));
    reply->set_name(request->name());
    return grpc::Status::OK;
  }
  grpc::Status CaInit(Context* context, const v1::CaInitRequest* request,
                      v1::CaCertificateReply* reply) override {
    VTPM_JUDGE("CaInit " + request->subject().common_name() + "," +
               request->subject().organization() + "," + std::to_string(request->days()));
    *reply = state_.root;
    return grpc::Status::OK;
  }
  grpc::Status CaRequest(Context* context, const v1::CaRequestRequest* request,
                         v1::CaRequestReply* reply) override {
    VTPM_JUDGE("CaRequest " + request->subject().common_name());
    reply->set_pem("a request\n");
    return grpc::Status::OK;
  }
  grpc::Status CaImport(Context* context, const v1::CaImportRequest* request,
                        v1::CaCertificateReply* reply) override {
    VTPM_JUDGE("CaImport " + request->pem() + (request->keep_families() ? " keep" : ""));
    *reply = state_.root;
    return grpc::Status::OK;
  }
  grpc::Status RevocationLists(Context* context, const v1::RevocationListsRequest* request,
                               v1::RevocationListsReply* reply) override {
    VTPM_JUDGE(fmt::format("RevocationLists {} {}", request->device(), request->days()));
    *reply = state_.lists;
    return grpc::Status::OK;
  }
  grpc::Status RotateHostKey(Context* context, const v1::RotateHostKeyRequest*,
                             v1::RotateHostKeyReply* reply) override {
    VTPM_JUDGE("RotateHostKey");
    reply->set_devices(static_cast<std::uint32_t>(state_.devices.size()));
    return grpc::Status::OK;
  }

 private:
  FakeState& state_;
};

#undef VTPM_JUDGE

inline v1::Device make_device(const std::string& name, v1::State state = v1::ON) {
  v1::Device device;
  device.set_name(name);
  device.set_uuid("2f9e1f0c-5d3c-4c1e-9d55-0f1a2b3c4d5e");
  device.set_owner("shop");
  device.set_role(v1::DEVICE);
  device.set_kind(v1::CONTAINER);
  device.set_mode(v1::READ_WRITE);
  device.set_node(v1::KERNEL);
  device.set_state(state);
  if (state == v1::ON) {
    device.set_device_path("/dev/tpm3");
    device.set_rm_device_path("/dev/tpmrm3");
    device.set_dev_major(10);
    device.set_dev_minor(224);
    device.set_devrm_major(253);
    device.set_devrm_minor(65536);
  }
  device.set_sequence((std::uint64_t{1} << 53) + 1);  // not a double
  return device;
}

// A test with a directory for sockets; start() makes vtpmd there.
class VtpmctlTest : public ::testing::Test {
 protected:
  void start(bool observe = true, bool admin = true) {
    if (observe) observe_ = serve("observe.sock", false);
    if (admin) admin_ = serve("admin.sock", true);
  }
  void stop() {
    observe_.reset();
    admin_.reset();
  }

  int run(std::vector<std::string> arguments) {
    std::istringstream in(typed);
    std::ostringstream out_stream;
    std::ostringstream err_stream;
    Environment environment{in, out_stream, err_stream};
    environment.in_is_terminal = terminal;
    environment.out_is_terminal = terminal;
    environment.err_is_terminal = terminal;
    environment.columns = terminal ? columns : 0;
    environment.variables = variables;
    environment.run_dir = dir.path();
    environment.root = root.path();
    environment.kernel_release = "6.12.4-test";
    environment.call_timeout = timeout;
    environment.doctor_timeout = timeout;
    const Exit exit = ctl::run(std::move(arguments), environment);
    out = out_stream.str();
    err = err_stream.str();
    return static_cast<int>(exit);
  }
  Json json() { return Json::parse(out); }

  TempDir dir;
  TempDir root;
  FakeState state;
  std::string typed;
  bool terminal = false;
  unsigned columns = 0;
  std::chrono::milliseconds timeout{20'000};
  std::map<std::string, std::string, std::less<>> variables;
  std::string out;
  std::string err;

 private:
  std::unique_ptr<grpc::Server> serve(const std::string& name, bool admin) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + (dir.path() / name).string(),
                             grpc::InsecureServerCredentials());
    builder.RegisterService(&observe_service_);
    if (admin) builder.RegisterService(&admin_service_);
    return builder.BuildAndStart();
  }
  FakeObserve observe_service_{state};
  FakeAdmin admin_service_{state};
  std::unique_ptr<grpc::Server> observe_;
  std::unique_ptr<grpc::Server> admin_;
};

}  // namespace vtpm::ctl
