// SPDX-License-Identifier: Apache-2.0
// EventLog: what was measured at a device's power-on, as verifiers read it: the crypto-agile log of
// the TCG PC Client Platform Firmware Profile (TCG_PCR_EVENT2 behind a "Spec ID Event03" header),
// which tpm2_eventlog(1) replays to the PCRs. Little-endian, other than all else here.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/measurement.h"
#include "base/result.h"

namespace vtpm::device {

enum class EventType : std::uint32_t {
  no_action = 3,  // the header; never extended
  separator = 4,  // the platform has measured all that it measures into this PCR
  ipl = 13,       // what is started: a file or a text
};

struct Event {
  Measurement measurement;
  EventType type = EventType::ipl;
  std::string what;  // the log's words; for a text the text itself, which is what was digested
};

// A request's measurements, checked, and behind them a separator in each PCR that they use and in
// kTextPcr and kFilePcr in any case. As every power-on ends with those, no client can extend its
// own way to the PCRs of a device that was measured.
Result<std::vector<Event>> with_separators(std::vector<Event> measured);

Bytes encode_event_log(std::span<const Event> events);
// Refuses what encode_event_log() cannot have made.
Result<std::vector<Event>> decode_event_log(ByteView log);

inline constexpr std::size_t kMaxEventLog = kMaxEventTexts + kMaxEvents * 256 + 256;

}  // namespace vtpm::device
