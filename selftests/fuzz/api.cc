// SPDX-License-Identifier: Apache-2.0
// Requests of the API, from the bytes of a message to what the manager is asked for.
//
//   0   UINT8   which request: even = Create, odd = Set
//   1   the message, as protobuf has it on the wire
#include <algorithm>
#include <cstdint>
#include <string>

#include "api/convert.h"
#include "check.h"
#include "device/parking.h"
#include "store/checks.h"

namespace vtpm::fuzz {
namespace {

constexpr std::size_t kMaxOwner = 256;
constexpr std::size_t kMaxSocketPath = 100;

bool among(std::uint8_t value, std::uint8_t last) { return value >= 1 && value <= last; }

// What is let through can be stored, and comes out as it was asked for.
void create(const v1::CreateRequest& request) {
  const auto settings = api::to_settings(request);
  if (!settings) {
    FUZZ_CHECK(settings.error().code == ErrorCode::invalid_argument);
    return;
  }
  const store::Settings& s = *settings;
  FUZZ_CHECK(s.name == request.name() && store::valid_name(s.name) && !Uuid::parse(s.name));
  FUZZ_CHECK(s.owner == request.owner() && s.owner.size() <= kMaxOwner);
  FUZZ_CHECK(among(s.kind, 3) && among(s.mode, 2) && among(s.node, 2));
  FUZZ_CHECK(request.kind() == v1::KIND_UNSPECIFIED || s.kind == request.kind());
  FUZZ_CHECK(request.mode() == v1::MODE_UNSPECIFIED || s.mode == request.mode());
  FUZZ_CHECK(request.role() != v1::TEMPLATE || (s.mode == v1::READ_ONLY && s.socket_path.empty()));
  FUZZ_CHECK((request.role() == v1::TEMPLATE) == (s.role == store::Role::template_device));
  FUZZ_CHECK(request.node() == v1::NODE_UNSPECIFIED || s.node == request.node());
  FUZZ_CHECK(s.socket_path == request.socket_path());
  FUZZ_CHECK(s.socket_path.empty() || (s.node == v1::SOCKET && s.socket_path.front() == '/' &&
                                       s.socket_path.size() <= kMaxSocketPath &&
                                       s.socket_path.find('\0') == std::string::npos));
  FUZZ_CHECK(s.command_timeout_ms == request.command_timeout_ms() &&
             s.detach_timeout_ms == request.detach_timeout_ms());
  FUZZ_CHECK(s.park_after_s.has_value() == request.has_park_after_s());
  FUZZ_CHECK(s.cert_profile == request.cert_profile());

  store::Record record;
  record.uuid.bytes.fill(std::byte{1});
  record.settings = s;
  const bool nul = s.owner.find('\0') != std::string::npos;  // the store's to refuse
  FUZZ_CHECK(store::check_record(record).has_value() == !nul);

  // Shown again, it is what was asked for.
  device::View view;
  view.settings = s;
  const v1::Device shown = api::to_proto(view);
  FUZZ_CHECK(shown.name() == s.name && shown.owner() == s.owner && shown.kind() == s.kind &&
             shown.mode() == s.mode && shown.node() == s.node &&
             shown.has_park_after_s() == s.park_after_s.has_value());
  v1::Device read;
  FUZZ_CHECK(read.ParseFromString(shown.SerializeAsString()) && read.owner() == s.owner);
}

void set(const v1::SetRequest& request) {
  const auto changes = api::to_changes(request);
  if (!changes) {
    FUZZ_CHECK(changes.error().code == ErrorCode::invalid_argument);
    return;
  }
  FUZZ_CHECK(changes->owner || changes->park_after_s || changes->cert_profile);
  FUZZ_CHECK(changes->cert_profile.has_value() == request.has_cert_profile());
  FUZZ_CHECK(changes->owner.has_value() == request.has_owner());
  if (changes->owner)
    FUZZ_CHECK(*changes->owner == request.owner() && changes->owner->size() <= kMaxOwner);
  if (changes->park_after_s) {
    const auto& time = *changes->park_after_s;
    FUZZ_CHECK(time.has_value() == request.has_park_after_s());
    FUZZ_CHECK(!time || *time == request.park_after_s());
  }
}

}  // namespace
}  // namespace vtpm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto parse = [&](auto message, auto use) {
    if (message.ParseFromArray(data + 1, static_cast<int>(size - 1))) use(message);
  };
  if (data[0] % 2 == 0)
    parse(vtpm::v1::CreateRequest(), vtpm::fuzz::create);
  else
    parse(vtpm::v1::SetRequest(), vtpm::fuzz::set);
  return 0;
}
