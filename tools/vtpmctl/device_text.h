// SPDX-License-Identifier: Apache-2.0
// What several verbs say about a device.
#pragma once

#include <string>

#include "session.h"

namespace vtpm::ctl {

// The path a client opens: /dev/tpmN or the socket; empty while there is none.
std::string client_path(const v1::Device& device);

// "  device            /dev/tpm3" …: what a person needs next. Empty while there is none.
std::string node_lines(const v1::Device& device);

// For a person who looks on: how the node gets into a container or a VM.
void tip_how_to_use(Session& session, const v1::Device& device);

// For a person who looks on: why the number of a destroyed node is not free at once.
void tip_number_held(Session& session, const std::string& device);

}  // namespace vtpm::ctl
