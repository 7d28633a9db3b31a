// SPDX-License-Identifier: Apache-2.0
// Words: how vtpmctl reads and writes values of the API. Pure functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/vtpm.pb.h"
#include "environment.h"
#include "table.h"

namespace vtpm::ctl {

// Lower case, as in JSON and on the command line; a value of a later API becomes "unknown-N".
std::string word(v1::Mode mode);
std::string word(v1::Kind kind);
std::string word(v1::Node node);
std::string word(v1::Role role);
std::string word(v1::CertProfile profile);
std::string word(v1::State state);
std::string word(v1::Event::Type type);
std::string word(v1::DoctorReply::Status status);
Tone tone(v1::State state);

// Nothing for a word that is none of theirs.
std::optional<v1::Mode> parse_mode(std::string_view text);
std::optional<v1::Kind> parse_kind(std::string_view text);
std::optional<v1::Node> parse_node(std::string_view text);
std::optional<v1::CertProfile> parse_cert_profile(std::string_view text);

// The rule of vtpmd: 1 to 63 of A-Z a-z 0-9 . _ -, the first a letter or a digit. A uuid passes.
// vtpmd decides; this one gives the better message.
bool valid_name(std::string_view name);
Outcome<void> check_name(std::string_view name);
// The same of DEVICE@SNAPSHOT.
bool valid_snapshot_name(std::string_view name);
Outcome<void> check_snapshot_name(std::string_view name);

// "500ms", "30s", "2m", "1h": from 1 ms to 1 h (uapi/linux/vtpm.h). Gives milliseconds.
Outcome<std::uint32_t> parse_duration(std::string_view option, std::string_view text);
std::string duration_text(std::uint32_t milliseconds);
// How long a device may be idle: "never" (0), or from 1s to 30d: "90s", "10m", "8h", "7d". Seconds.
Outcome<std::uint32_t> parse_idle_time(std::string_view option, std::string_view text);
std::string idle_time_text(std::uint32_t seconds);

// "TPM_RC_READ_ONLY" for the codes the gate gives (TPM 2.0 Library, Part 2, 6.6.3), else "0x101".
std::string response_code_name(std::uint32_t code);
// The command, or why there is none.
std::string command_text(const v1::DeniedCommand& denied);

std::string local_time(std::int64_t nanoseconds);  // 2025-11-03 14:02:11
std::string utc_time(std::int64_t nanoseconds);    // 2025-11-03T13:02:11.000000001Z

// The one of `choices` that was most likely meant; empty if none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& choices);

}  // namespace vtpm::ctl
