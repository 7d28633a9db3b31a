// SPDX-License-Identifier: Apache-2.0
// The JSON that vtpmctl prints. Field names and their types are an interface (vtpmctl(1), JSON
// OUTPUT): fields may be added, none is renamed or left out. Pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "api/vtpm.pb.h"

namespace vtpm::ctl {

using Json = nlohmann::ordered_json;

Json to_json(const v1::Device& device);
Json to_json(const v1::DeniedCommand& denied);
Json to_json(const v1::Event& event);

// Plain ASCII, whatever the strings hold: a terminal is as safe as a parser. indent -1: one line.
std::string dump(const Json& json, int indent);

}  // namespace vtpm::ctl
