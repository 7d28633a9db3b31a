// SPDX-License-Identifier: Apache-2.0
#include "api/convert.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <functional>
#include <set>

#include "policy/policy.h"
#include "privsep/messages.h"

namespace vtpm::api {
namespace {

v1::CreateRequest request(const std::string& name) {
  v1::CreateRequest r;
  r.set_name(name);
  return r;
}

TEST(Convert, EveryErrorHasItsStatus) {
  const std::vector<std::pair<ErrorCode, grpc::StatusCode>> table{
      {ErrorCode::invalid_argument, grpc::INVALID_ARGUMENT},
      {ErrorCode::not_found, grpc::NOT_FOUND},
      {ErrorCode::exists, grpc::ALREADY_EXISTS},
      {ErrorCode::conflict, grpc::ABORTED},
      {ErrorCode::failed_precondition, grpc::FAILED_PRECONDITION},
      {ErrorCode::busy, grpc::FAILED_PRECONDITION},
      {ErrorCode::permission, grpc::PERMISSION_DENIED},
      {ErrorCode::unavailable, grpc::UNAVAILABLE},
      {ErrorCode::unknown_outcome, grpc::UNKNOWN},
      {ErrorCode::corrupt, grpc::DATA_LOSS},
      {ErrorCode::too_large, grpc::OUT_OF_RANGE},
      {ErrorCode::full, grpc::RESOURCE_EXHAUSTED},
      {ErrorCode::timed_out, grpc::DEADLINE_EXCEEDED},
      {ErrorCode::io, grpc::INTERNAL},
      {ErrorCode::unsupported, grpc::UNIMPLEMENTED},
      {ErrorCode::internal, grpc::INTERNAL},
  };
  EXPECT_EQ(table.size(), static_cast<std::size_t>(ErrorCode::internal) + 1);
  for (const auto& [code, wanted] : table) {
    grpc::ServerContext context;
    const grpc::Status status = to_status(Error{code, "what", ""}, context);
    EXPECT_EQ(status.error_code(), wanted) << to_string(code);
    EXPECT_EQ(status.error_message(), "what");
  }
}

TEST(Convert, EveryPhaseAndEveryStoredNumberHasItsName) {
  for (int phase = 0; phase <= static_cast<int>(device::Phase::failed); phase++) {
    device::View view;
    view.phase = static_cast<device::Phase>(phase);
    std::string name = v1::State_Name(to_proto(view).state());
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    EXPECT_EQ(name, device::to_string(view.phase));
  }
  device::View view;
  view.settings.kind = static_cast<std::uint8_t>(privsep::DeviceKind::open);
  view.settings.mode = static_cast<std::uint8_t>(privsep::DeviceMode::read_write);
  view.settings.node = static_cast<std::uint8_t>(privsep::NodeKind::socket);
  EXPECT_EQ(to_proto(view).kind(), v1::OPEN);
  EXPECT_EQ(to_proto(view).mode(), v1::READ_WRITE);
  EXPECT_EQ(to_proto(view).node(), v1::SOCKET);
  view.settings.kind = static_cast<std::uint8_t>(privsep::DeviceKind::vm);
  view.settings.mode = static_cast<std::uint8_t>(privsep::DeviceMode::read_only);
  view.settings.node = static_cast<std::uint8_t>(privsep::NodeKind::kernel);
  EXPECT_EQ(to_proto(view).kind(), v1::VM);
  EXPECT_EQ(to_proto(view).mode(), v1::READ_ONLY);
  EXPECT_EQ(to_proto(view).node(), v1::KERNEL);
}

TEST(Convert, EveryKindOfNoticeAndFindingHasItsType) {
  std::set<int> types;
  for (int kind = 0; kind <= static_cast<int>(device::Notice::Kind::worker_replaced); kind++) {
    device::Notice notice;
    notice.kind = static_cast<device::Notice::Kind>(kind);
    EXPECT_NE(to_proto(notice).type(), v1::Event::TYPE_UNSPECIFIED) << kind;
    EXPECT_FALSE(to_proto(notice).has_denied());
    types.insert(to_proto(notice).type());
  }
  EXPECT_EQ(types.size(), 5U);
  device::Finding finding;
  finding.status = device::Finding::Status::failure;
  EXPECT_EQ(to_proto(finding).status(), v1::DoctorReply::FAIL);
}

TEST(Convert, ANodeIsShownOnlyWhileClientsCanUseIt) {
  device::View view;
  view.node.number = 7;
  EXPECT_EQ(to_proto(view).device_path(), "");
  view.has_node = true;
  EXPECT_EQ(to_proto(view).device_path(), "/dev/tpm7");
  EXPECT_EQ(to_proto(view).rm_device_path(), "/dev/tpmrm7");
  view.socket_path = "/run/s";
  EXPECT_EQ(to_proto(view).device_path(), "");
}

TEST(Convert, ARefusalOfAnyWorkerCanBeShown) {
  for (int reason = 0; reason < 256; reason++) {
    device::Refusal refusal;
    refusal.reason = static_cast<std::uint8_t>(reason);
    refusal.command_code = 0x131;
    const v1::DeniedCommand denied = to_proto(refusal);
    EXPECT_FALSE(denied.reason().empty()) << reason;
    EXPECT_EQ(denied.command(), "TPM2_CreatePrimary");
  }
  device::Refusal malformed;
  malformed.command_code = 0;
  EXPECT_EQ(to_proto(malformed).command(), "");
}

TEST(Convert, WhatARequestLeavesOpenGetsItsDefault) {
  const auto s = to_settings(request("web"));
  ASSERT_TRUE(s);
  EXPECT_EQ(s->kind, static_cast<std::uint8_t>(privsep::DeviceKind::container));
  EXPECT_EQ(s->mode, static_cast<std::uint8_t>(privsep::DeviceMode::read_write));
  EXPECT_EQ(s->node, static_cast<std::uint8_t>(privsep::NodeKind::kernel));
}

TEST(Convert, WhatARequestLeavesOpenIsAsInItsTemplate) {
  store::Settings base = default_settings();
  base.owner = "shop";
  base.kind = v1::VM;
  base.node = v1::SOCKET;
  base.linux_hmac = true;
  base.command_timeout_ms = 5000;
  base.detach_timeout_ms = 6000;
  v1::CreateRequest r = request("web");
  store::Settings wanted = base;
  wanted.name = "web";
  EXPECT_EQ(to_settings(r, base), wanted);
  r.set_owner("");
  r.set_kind(v1::CONTAINER);
  r.set_mode(v1::READ_ONLY);
  r.set_node(v1::KERNEL);
  r.set_command_timeout_ms(1);
  r.set_park_after_s(3);
  wanted = {.name = "web",
            .owner = "",
            .kind = v1::CONTAINER,
            .mode = v1::READ_ONLY,
            .node = v1::KERNEL,
            .socket_path = "",
            .linux_hmac = true,
            .command_timeout_ms = 1,
            .detach_timeout_ms = 6000,
            .park_after_s = 3};
  EXPECT_EQ(to_settings(r, base), wanted);
}

TEST(Convert, ATemplateIsReadOnlyAndHasNoNode) {
  v1::CreateRequest r = request("golden");
  r.set_role(v1::TEMPLATE);
  const auto s = to_settings(r);
  ASSERT_TRUE(s);
  EXPECT_EQ(s->role, store::Role::template_device);
  EXPECT_EQ(s->mode, static_cast<std::uint8_t>(privsep::DeviceMode::read_only));
  device::View view;
  view.settings = *s;
  EXPECT_EQ(to_proto(view).role(), v1::TEMPLATE);
  for (const auto& change : std::vector<std::function<void(v1::CreateRequest&)>>{
           [](auto& c) { c.set_mode(v1::READ_WRITE); }, [](auto& c) { c.set_start(true); },
           [](auto& c) {
             c.set_node(v1::SOCKET);
             c.set_socket_path("/s");
           },
           [](auto& c) { c.set_role(v1::QUARANTINED); },
           [](auto& c) { c.set_role(static_cast<v1::Role>(7)); }}) {
    v1::CreateRequest bad = r;
    change(bad);
    EXPECT_EQ(to_settings(bad).error().code, ErrorCode::invalid_argument) << bad.ShortDebugString();
  }
}

TEST(Convert, RequestsThatMeanNothingAreRefused) {
  std::vector<v1::CreateRequest> bad;
  for (const std::string& name :
       {std::string(), std::string(64, 'a'), std::string("a/b"), std::string("../x"),
        std::string("-a"), std::string("a b"), std::string("a\0b", 3), std::string("\xc3\xa4"),
        std::string("6ba7b810-9dad-41d1-80b4-00c04fd430c8"),
        std::string("6BA7B810-9DAD-41D1-80B4-00C04FD430C8")})
    bad.push_back(request(name));
  bad.push_back(request("a"));
  bad.back().set_kind(static_cast<v1::Kind>(9));
  bad.push_back(request("a"));
  bad.back().set_mode(static_cast<v1::Mode>(-1));
  bad.push_back(request("a"));
  bad.back().set_node(static_cast<v1::Node>(257));  // 1 once it is cut to a byte
  bad.push_back(request("a"));
  bad.back().set_owner(std::string(257, 'o'));
  bad.push_back(request("a"));
  bad.back().set_command_timeout_ms(0xffffffff);
  bad.push_back(request("a"));
  bad.back().set_detach_timeout_ms(3'600'001);
  bad.push_back(request("a"));
  bad.back().set_socket_path("/run/s");  // of a kernel node
  for (const std::string& path :
       {std::string("relative"), std::string(101, '/'), std::string("/a\0b", 4)}) {
    bad.push_back(request("a"));
    bad.back().set_node(v1::SOCKET);
    bad.back().set_socket_path(path);
  }
  for (const auto& r : bad) {
    const auto s = to_settings(r);
    ASSERT_FALSE(s) << r.ShortDebugString();
    EXPECT_EQ(s.error().code, ErrorCode::invalid_argument) << r.ShortDebugString();
  }
  v1::CreateRequest good = request("a");
  good.set_node(v1::SOCKET);
  good.set_socket_path("/" + std::string(99, 's'));
  good.set_owner(std::string(256, 'o'));
  EXPECT_TRUE(to_settings(good));
}

TEST(Convert, AChangeIsWhatWasGivenAndNoMore) {
  v1::SetRequest request;
  request.set_device("a");
  EXPECT_EQ(to_changes(request).error().code, ErrorCode::invalid_argument) << "nothing";
  request.set_park_after_default(false);
  EXPECT_EQ(to_changes(request).error().code, ErrorCode::invalid_argument) << "nothing";
  request.set_owner("");
  auto changes = to_changes(request);
  ASSERT_TRUE(changes);
  EXPECT_EQ(changes->owner, "") << "nobody's is an owner, too";
  EXPECT_FALSE(changes->park_after_s);
  request.set_park_after_s(0);
  changes = to_changes(request);
  ASSERT_TRUE(changes->park_after_s);
  EXPECT_EQ(*changes->park_after_s, 0U) << "never";
  request.set_park_after_default(true);
  changes = to_changes(request);
  ASSERT_TRUE(changes->park_after_s);
  EXPECT_EQ(*changes->park_after_s, std::nullopt);
  request.set_owner(std::string(257, 'o'));
  EXPECT_FALSE(to_changes(request));
}

TEST(Convert, ATimeForParkingIsShownIfTheDeviceHasOne) {
  device::View view;
  EXPECT_FALSE(to_proto(view).has_park_after_s());
  view.settings.park_after_s = 0;
  EXPECT_TRUE(to_proto(view).has_park_after_s());
  v1::CreateRequest create = request("a");
  EXPECT_EQ(to_settings(create)->park_after_s, std::nullopt);
  create.set_park_after_s(90);
  EXPECT_EQ(to_settings(create)->park_after_s, 90U);
}

TEST(Convert, AProfileOfCertificatesIsTakenAndShown) {
  v1::CreateRequest create;
  create.set_name("web");
  EXPECT_EQ(to_settings(create)->cert_profile, 0);
  create.set_cert_profile(v1::FULL);
  device::View view;
  view.settings = to_settings(create).value();
  EXPECT_EQ(to_proto(view).cert_profile(), v1::FULL);
  create.set_cert_profile(static_cast<v1::CertProfile>(4));
  EXPECT_EQ(to_settings(create).error().code, ErrorCode::invalid_argument);
  v1::SetRequest change;
  change.set_cert_profile(v1::AS_VTPMD);
  EXPECT_EQ(to_changes(change)->cert_profile, 0);
  change.set_cert_profile(static_cast<v1::CertProfile>(4));
  EXPECT_EQ(to_changes(change).error().code, ErrorCode::invalid_argument);
}

v1::Measurement measurement() {
  v1::Measurement m;
  m.set_pcr(9);
  m.set_sha1(std::string(20, '\1'));
  m.set_sha256(std::string(32, '\2'));
  m.set_sha384(std::string(48, '\3'));
  m.set_sha512(std::string(64, '\4'));
  m.set_what("file");
  return m;
}

TEST(Convert, AMeasurementHasADigestOfEachBank) {
  v1::Measurements measured;
  *measured.add_list() = measurement();
  const auto events = to_events(measured);
  ASSERT_TRUE(events);
  ASSERT_EQ(events->size(), 1U);
  EXPECT_EQ((*events)[0].measurement.pcr, 9);
  EXPECT_EQ((*events)[0].what, "file");
  EXPECT_EQ(as_text((*events)[0].measurement.digests),
            measurement().sha1() + measurement().sha256() + measurement().sha384() +
                measurement().sha512());
  using Setter = void (*)(v1::Measurement&, std::string);
  for (const Setter set :
       {Setter{[](v1::Measurement& m, std::string v) { m.set_sha1(std::move(v)); }},
        Setter{[](v1::Measurement& m, std::string v) { m.set_sha256(std::move(v)); }},
        Setter{[](v1::Measurement& m, std::string v) { m.set_sha384(std::move(v)); }},
        Setter{[](v1::Measurement& m, std::string v) { m.set_sha512(std::move(v)); }}})
    for (const std::size_t size : {0, 1, 33, 65, 10'000}) {
      set(*measured.mutable_list(0), std::string(size, 'x'));
      EXPECT_EQ(to_events(measured).error().code, ErrorCode::invalid_argument);
      *measured.mutable_list(0) = measurement();
    }
}

TEST(Convert, APcrThatThereIsNotBecomesNoOther) {
  v1::Measurements measured;
  EXPECT_TRUE(to_events(measured)->empty());
  *measured.add_list() = measurement();
  for (const std::uint32_t pcr : {16U, 23U, 256U, 265U, 0xffffffffU}) {
    measured.mutable_list(0)->set_pcr(pcr);
    const auto checked = device::with_separators(to_events(measured).value());
    ASSERT_FALSE(checked) << pcr;
    EXPECT_EQ(checked.error().code, ErrorCode::invalid_argument) << pcr;
  }
}

}  // namespace
}  // namespace vtpm::api
