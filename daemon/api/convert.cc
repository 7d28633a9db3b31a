// SPDX-License-Identifier: Apache-2.0
#include "api/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "frame/commands.h"
#include "policy/policy.h"
#include "privsep/messages.h"

namespace vtpm::api {
namespace {

grpc::StatusCode code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument: return grpc::StatusCode::INVALID_ARGUMENT;
    case ErrorCode::not_found: return grpc::StatusCode::NOT_FOUND;
    case ErrorCode::exists: return grpc::StatusCode::ALREADY_EXISTS;
    case ErrorCode::conflict: return grpc::StatusCode::ABORTED;
    case ErrorCode::busy:
    case ErrorCode::failed_precondition: return grpc::StatusCode::FAILED_PRECONDITION;
    case ErrorCode::permission: return grpc::StatusCode::PERMISSION_DENIED;
    case ErrorCode::unavailable: return grpc::StatusCode::UNAVAILABLE;
    case ErrorCode::corrupt: return grpc::StatusCode::DATA_LOSS;
    case ErrorCode::too_large: return grpc::StatusCode::OUT_OF_RANGE;
    case ErrorCode::full: return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case ErrorCode::timed_out: return grpc::StatusCode::DEADLINE_EXCEEDED;
    case ErrorCode::unsupported: return grpc::StatusCode::UNIMPLEMENTED;
    case ErrorCode::unknown_outcome: return grpc::StatusCode::UNKNOWN;
    case ErrorCode::io:
    case ErrorCode::internal: return grpc::StatusCode::INTERNAL;
  }
  return grpc::StatusCode::INTERNAL;
}

// gRPC metadata carries printable ASCII alone.
std::string printable(std::string text) {
  std::ranges::replace_if(text, [](unsigned char c) { return c < 0x20 || c > 0x7e; }, '?');
  return text;
}

v1::State state_of(device::Phase phase) {
  switch (phase) {
    case device::Phase::off: return v1::OFF;
    case device::Phase::starting: return v1::STARTING;
    case device::Phase::on: return v1::ON;
    case device::Phase::parked: return v1::PARKED;
    case device::Phase::detached: return v1::DETACHED;
    case device::Phase::stopping: return v1::STOPPING;
    case device::Phase::failed: return v1::FAILED;
  }
  return v1::STATE_UNSPECIFIED;
}

v1::Role role_of(store::Role role) {
  switch (role) {
    case store::Role::device: return v1::DEVICE;
    case store::Role::template_device: return v1::TEMPLATE;
    case store::Role::moved: return v1::MOVED;
    case store::Role::quarantined:
    case store::Role::quarantined_fresh_storage: return v1::QUARANTINED;
    case store::Role::retired: return v1::RETIRED;
    case store::Role::snapshot: return v1::SNAPSHOT;
  }
  return v1::ROLE_UNSPECIFIED;
}

constexpr std::size_t kMaxOwner = 256;
constexpr std::size_t kMaxSocketPath = 100;  // sun_path less ".ctrl"

Result<void> check_owner(const std::string& owner) {
  if (owner.size() > kMaxOwner)
    return fail(ErrorCode::invalid_argument, "the owner is longer than 256 bytes");
  return {};
}

}  // namespace

grpc::Status to_status(const Error& error, grpc::ServerContext& context) {
  if (!error.hint.empty()) context.AddTrailingMetadata("vtpm-hint", printable(error.hint));
  return {code_of(error.code), error.message};
}

v1::Device to_proto(const device::View& view) {
  v1::Device d;
  const store::Settings& s = view.settings;
  d.set_uuid(view.uuid.to_string());
  d.set_name(s.name);
  d.set_owner(s.owner);
  // The stored numbers are those of privsep's enums, and so are the API's, after UNSPECIFIED.
  d.set_kind(static_cast<v1::Kind>(s.kind));
  d.set_mode(static_cast<v1::Mode>(s.mode));
  d.set_node(static_cast<v1::Node>(s.node));
  d.set_state(state_of(view.phase));
  d.set_failure(view.failure);
  d.set_waits_for(view.waits_for);
  if (view.has_node && view.socket_path.empty()) {
    d.set_device_path(fmt::format("/dev/tpm{}", view.node.number));
    d.set_rm_device_path(fmt::format("/dev/tpmrm{}", view.node.number));
    d.set_dev_major(view.node.dev_major);
    d.set_dev_minor(view.node.dev_minor);
    d.set_devrm_major(view.node.devrm_major);
    d.set_devrm_minor(view.node.devrm_minor);
  }
  d.set_socket_path(view.socket_path);
  d.set_linux_hmac(s.linux_hmac);
  d.set_epoch(view.version.epoch);
  d.set_generation(view.version.generation);
  d.set_sequence(view.sequence);
  d.set_worker_pid(static_cast<std::uint32_t>(view.worker_pid));
  d.set_denied(view.denied);
  d.set_restarts(view.restarts);
  d.set_throttled(view.throttled);
  d.set_wakes(view.wakes);
  d.set_event_log(view.event_log);
  d.set_command_timeout_ms(s.command_timeout_ms);
  d.set_detach_timeout_ms(s.detach_timeout_ms);
  d.set_has_identity(view.has_identity);
  d.set_role(role_of(s.role));
  constexpr std::int64_t kNanoseconds = 1000;  // of a microsecond
  d.set_taken_ns(static_cast<std::int64_t>(view.taken_us) * kNanoseconds);
  if (s.park_after_s) d.set_park_after_s(*s.park_after_s);
  d.set_cert_profile(static_cast<v1::CertProfile>(s.cert_profile));
  return d;
}

v1::DeniedCommand to_proto(const device::Refusal& r) {
  v1::DeniedCommand d;
  d.set_uuid(r.uuid.to_string());
  d.set_name(r.name);
  d.set_time_ns(r.time_ns);
  d.set_command_code(r.command_code);
  if (const auto* info = frame::find_command(r.command_code))
    d.set_command(fmt::format("TPM2_{}", info->name));
  d.set_reason(std::string(policy::to_string(static_cast<policy::Reason>(r.reason))));
  d.set_locality(r.locality);
  d.set_response_code(r.response_code);
  d.set_sequence(r.sequence);
  d.set_suppressed(r.suppressed);
  return d;
}

v1::Event to_proto(const device::Notice& notice) {
  v1::Event e;
  switch (notice.kind) {
    case device::Notice::Kind::created: e.set_type(v1::Event::CREATED); break;
    case device::Notice::Kind::state_changed: e.set_type(v1::Event::STATE_CHANGED); break;
    case device::Notice::Kind::denied: e.set_type(v1::Event::DENIED_COMMAND); break;
    case device::Notice::Kind::deleted: e.set_type(v1::Event::DELETED); break;
    case device::Notice::Kind::worker_replaced: e.set_type(v1::Event::WORKER_REPLACED); break;
  }
  e.set_time_ns(notice.time_ns);
  *e.mutable_device() = to_proto(notice.view);
  if (notice.refusal) *e.mutable_denied() = to_proto(*notice.refusal);
  return e;
}

v1::DoctorReply::Check to_proto(const device::Finding& finding) {
  v1::DoctorReply::Check check;
  check.set_name(finding.name);
  check.set_status(static_cast<v1::DoctorReply::Status>(finding.status));
  check.set_finding(finding.text);
  check.set_remedy(finding.remedy);
  return check;
}

store::Settings default_settings() {
  store::Settings s;
  s.kind = v1::CONTAINER;
  s.mode = v1::READ_WRITE;
  s.node = v1::KERNEL;
  return s;
}

Result<store::Settings> to_settings(const v1::CreateRequest& r, store::Settings base) {
  store::Settings s = std::move(base);
  if (!store::valid_name(r.name()))
    return fail(ErrorCode::invalid_argument, "this is no name for a device",
                "use 1 to 63 of A-Z a-z 0-9 . _ - and begin with a letter or digit");
  if (Uuid::parse(r.name()))
    return fail(ErrorCode::invalid_argument, "a device's name must not look like a UUID");
  VTPM_CHECK(check_owner(r.owner()));
  if (!v1::Kind_IsValid(r.kind()) || !v1::Mode_IsValid(r.mode()) || !v1::Node_IsValid(r.node()) ||
      !v1::Role_IsValid(r.role()) || !v1::CertProfile_IsValid(r.cert_profile()))
    return fail(ErrorCode::invalid_argument, "unknown kind, mode, node, role or profile",
                "vtpmctl and vtpmd are of different releases: upgrade the older one");
  s.name = r.name();
  if (r.has_owner()) s.owner = r.owner();
  if (r.kind() != v1::KIND_UNSPECIFIED) s.kind = static_cast<std::uint8_t>(r.kind());
  if (r.mode() != v1::MODE_UNSPECIFIED) s.mode = static_cast<std::uint8_t>(r.mode());
  if (r.node() != v1::NODE_UNSPECIFIED) s.node = static_cast<std::uint8_t>(r.node());
  if (r.role() > v1::TEMPLATE)
    return fail(ErrorCode::invalid_argument, "a device of this role is not made so",
                "a device and a template are; clone, snapshot and rollback make the others");
  if (r.role() == v1::TEMPLATE) {
    if (r.mode() == v1::READ_WRITE || r.start() || !r.socket_path().empty())
      return fail(ErrorCode::invalid_argument,
                  "a template is read-only, and never started: it has no node of its own",
                  "leave out mode, start and socket path");
    s.role = store::Role::template_device;
    s.mode = v1::READ_ONLY;
  }
  const std::string& path = r.socket_path();
  if (!path.empty()) {
    if (!device::is_on_socket(s))
      return fail(ErrorCode::invalid_argument, "a socket path needs a socket node",
                  "add --node socket");
    if (path.front() != '/' || path.size() > kMaxSocketPath || path.find('\0') != std::string::npos)
      return fail(ErrorCode::invalid_argument,
                  "the socket path must be absolute and at most 100 bytes long");
    s.socket_path = path;
  }
  s.linux_hmac = s.linux_hmac || r.linux_hmac();
  for (const std::uint32_t timeout : {r.command_timeout_ms(), r.detach_timeout_ms()})
    if (timeout > VTPM_TIMEOUT_MAX_MS)
      return fail(ErrorCode::invalid_argument, "a time-out is longer than one hour");
  if (r.command_timeout_ms() != 0) s.command_timeout_ms = r.command_timeout_ms();
  if (r.detach_timeout_ms() != 0) s.detach_timeout_ms = r.detach_timeout_ms();
  if (r.has_park_after_s()) s.park_after_s = r.park_after_s();
  if (r.cert_profile() != v1::AS_VTPMD)
    s.cert_profile = static_cast<std::uint8_t>(r.cert_profile());
  return s;
}

Result<device::Manager::Changes> to_changes(const v1::SetRequest& r) {
  device::Manager::Changes changes;
  if (r.has_owner()) {
    VTPM_CHECK(check_owner(r.owner()));
    changes.owner = r.owner();
  }
  if (r.has_park_after_s()) changes.park_after_s.emplace(r.park_after_s());
  if (r.has_park_after_default() && r.park_after_default())
    changes.park_after_s.emplace(std::nullopt);
  if (r.has_cert_profile()) {
    if (!v1::CertProfile_IsValid(r.cert_profile()))
      return fail(ErrorCode::invalid_argument, "unknown profile of certificates",
                  "vtpmctl and vtpmd are of different releases: upgrade the older one");
    changes.cert_profile = static_cast<std::uint8_t>(r.cert_profile());
  }
  if (!changes.owner && !changes.park_after_s && !changes.cert_profile)
    return fail(ErrorCode::invalid_argument, "nothing to change",
                "vtpmctl and vtpmd may be of different releases: upgrade the older one");
  return changes;
}

Result<std::vector<device::Event>> to_events(const v1::Measurements& measured) {
  std::vector<device::Event> events;
  for (const v1::Measurement& m : measured.list()) {
    device::Event& event = events.emplace_back();
    event.measurement.pcr = static_cast<std::uint8_t>(std::min(m.pcr(), 255U));
    event.what = m.what();
    std::byte* at = event.measurement.digests.data();
    const std::array<const std::string*, kHashBanks.size()> digests{&m.sha1(), &m.sha256(),
                                                                    &m.sha384(), &m.sha512()};
    for (std::size_t i = 0; i < digests.size(); i++) {
      if (digests[i]->size() != kHashBanks[i].size)
        return fail(ErrorCode::invalid_argument,
                    fmt::format("a measurement has no {} digest", kHashBanks[i].name),
                    "a digest of each of SHA1, SHA256, SHA384 and SHA512 is needed");
      at = std::ranges::copy(as_bytes(*digests[i]), at).out;
    }
  }
  return events;
}

}  // namespace vtpm::api
