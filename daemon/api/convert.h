// SPDX-License-Identifier: Apache-2.0
// Between the manager's types and those of vtpm.proto.
#pragma once

#include <grpcpp/grpcpp.h>

#include "api/vtpm.pb.h"
#include "device/manager.h"

namespace vtpm::api {

// The status with the error's sentence; the hint travels in the trailer "vtpm-hint".
grpc::Status to_status(const Error& error, grpc::ServerContext& context);

v1::Device to_proto(const device::View& view);
v1::DeniedCommand to_proto(const device::Refusal& refusal);
v1::Event to_proto(const device::Notice& notice);
v1::DoctorReply::Check to_proto(const device::Finding& finding);

// Of a device about which nothing is said.
store::Settings default_settings();
// Checks every field; what the request leaves open is as in `base`.
Result<store::Settings> to_settings(const v1::CreateRequest& request,
                                    store::Settings base = default_settings());
Result<device::Manager::Changes> to_changes(const v1::SetRequest& request);
// Checks the digests' sizes; the rest is the device's to check.
Result<std::vector<device::Event>> to_events(const v1::Measurements& measured);

}  // namespace vtpm::api
