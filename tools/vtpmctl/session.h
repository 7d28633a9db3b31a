// SPDX-License-Identifier: Apache-2.0
// Session: one invocation of vtpmctl. Holds the global options, connects when the first call is
// made, and is the one way to the person's terminal. Used from one thread.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "api/vtpm.pb.h"
#include "client.h"
#include "environment.h"
#include "json.h"
#include "table.h"

namespace vtpm::ctl {

enum class Format { table, json };

struct GlobalOptions {
  Format format = Format::table;
  bool color = false;
  bool quiet = false;
  std::filesystem::path socket;  // empty = by the verb's role
};

class Session {
 public:
  Session(Environment& environment, GlobalOptions options)
      : environment_(environment), options_(std::move(options)) {}

  // One call of the API, on the socket that its service needs. The request says which call.
  Outcome<v1::VersionReply> call(const v1::VersionRequest& request);
  Outcome<v1::ListReply> call(const v1::ListRequest& request);
  Outcome<v1::Device> call(const v1::ShowRequest& request);
  Outcome<v1::DeniedReply> call(const v1::DeniedRequest& request);
  Outcome<v1::EventLogReply> call(const v1::EventLogRequest& request);
  Outcome<v1::DoctorReply> call(const v1::DoctorRequest& request);
  Outcome<v1::LineageReply> call(const v1::LineageRequest& request);
  Outcome<v1::CaCertificateReply> call(const v1::CaCertificateRequest& request);
  Outcome<v1::Device> call(const v1::CreateRequest& request);
  Outcome<v1::Device> call(const v1::CloneRequest& request);
  Outcome<v1::Device> call(const v1::RebaseRequest& request);
  Outcome<v1::Device> call(const v1::SnapshotRequest& request);
  Outcome<v1::Device> call(const v1::RollbackRequest& request);
  Outcome<v1::Device> call(const v1::SetRequest& request);
  Outcome<v1::Device> call(const v1::StartRequest& request);
  Outcome<v1::Device> call(const v1::StopRequest& request);
  Outcome<v1::DeleteReply> call(const v1::DeleteRequest& request);
  Outcome<v1::Device> call(const v1::PowerCycleRequest& request);
  Outcome<v1::Device> call(const v1::SetModeRequest& request);
  Outcome<v1::Device> call(const v1::GeneralizeRequest& request);
  Outcome<v1::Device> call(const v1::ParkRequest& request);
  Outcome<v1::ReleaseReply> call(const v1::ReleaseRequest& request);
  Outcome<v1::RecipientReply> call(const v1::RecipientRequest& request);
  Outcome<v1::ExportReply> call(const v1::ExportRequest& request);
  Outcome<v1::Device> call(const v1::ImportRequest& request);
  Outcome<v1::RotateHostKeyReply> call(const v1::RotateHostKeyRequest& request);
  Outcome<v1::CaCertificateReply> call(const v1::CaInitRequest& request);
  Outcome<v1::CaRequestReply> call(const v1::CaRequestRequest& request);
  Outcome<v1::CaCertificateReply> call(const v1::CaImportRequest& request);
  Outcome<v1::RevocationListsReply> call(const v1::RevocationListsRequest& request);

  // Gives each event to `take` until that says no or vtpmd ends the stream; both are no failure.
  Outcome<void> watch(const v1::WatchRequest& request,
                      const std::function<bool(const v1::Event&)>& take);

  // The connection for `role`. One for Admin serves Observe, too.
  Outcome<Connection> connect(Role role);

  [[nodiscard]] Environment& environment() { return environment_; }
  [[nodiscard]] bool json() const { return options_.format == Format::json; }
  [[nodiscard]] bool quiet() const { return options_.quiet; }
  [[nodiscard]] bool color() const { return options_.color; }
  [[nodiscard]] const std::filesystem::path& socket_option() const { return options_.socket; }

  // To stdout. print() takes text that is printable already.
  void print(std::string_view text);
  void print(const Table& table);
  // What was done, for a person: nothing with JSON or -q.
  void say(std::string_view text) {
    if (!json() && !quiet()) print(text);
  }
  void print_json(const Json& json) { print(dump(json, 2)); }
  void print_json_line(const Json& json) { print(dump(json, -1)); }
  // Pushes it out now; false if nobody takes it any more.
  bool flush();

  // "vtpmctl: MESSAGE" and "  hint: HINT" to stderr, escaped; gives the exit status.
  Exit report(const Failure& failure);
  // A hint to stderr unless -q.
  void hint(std::string_view text);
  // A hint for a person who looks on: only if stderr is a terminal, too.
  void tip(std::string_view text);

 private:
  Environment& environment_;
  GlobalOptions options_;
  std::optional<Connection> connection_;
  Role connected_as_ = Role::observe;
};

}  // namespace vtpm::ctl
