// SPDX-License-Identifier: Apache-2.0
// Events: what happened to an identity, from its birth on. Each is a record of its own, signed by
// the key of the family; LINEAGE in the TPM is extended by its digest (frame/lineage.h), so that a
// log of them can be replayed to the value that the TPM shows. Nothing secret. Pure; any thread.
//
// Format: JSON as RFC 8785 has it, so that there is one way to write an event. A log has a line for
// each, {"event":{...},"signature":"HEX"}, oldest first (Documentation/design/identity.rst). A log
// is of anybody: what is read is refused unless it is written exactly so.
// Source: US 2014/0040890, paragraph 57.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/uuid.h"

namespace vtpm::identity {

using Digest = std::array<std::byte, 32>;  // SHA-256
Result<Digest> sha256(ByteView bytes);

enum class EventKind : std::uint8_t {
  create = 1,  // an identity without a forebear
  promote,     // the same, for a device that was read-only
  clone,
  rollback,
};

struct Event {
  EventKind kind = EventKind::create;
  Uuid device;                   // whose identity it is from here on
  std::optional<Uuid> parent{};  // whose it was; none at birth
  Digest parent_lineage{};       // LINEAGE before the event; zeros at birth
  std::uint64_t generation = 1;  // GENERATION after it
  std::int64_t time = 0;         // seconds since 1970, UTC
  Digest random{};
  bool operator==(const Event&) const = default;
};

inline constexpr std::uint64_t kLastGeneration = (std::uint64_t{1} << 53) - 1;  // RFC 8785, 3.2.2.3

std::string to_json(const Event& event);
Result<Event> parse_event(std::string_view json);
// What LINEAGE is extended by.
Result<Digest> digest_of(const Event& event);
// TPM2_NV_Extend.
Result<Digest> extended(const Digest& lineage, const Digest& event_digest);

struct SignedEvent {
  Event event;
  Bytes signature;  // of its JSON: ECDSA with SHA-384, DER
  bool operator==(const SignedEvent&) const = default;
};
using EventLog = std::vector<SignedEvent>;

inline constexpr std::size_t kLongestLog = std::size_t{48} * 1024;

std::string to_text(const EventLog& log);
Result<EventLog> parse_log(std::string_view text);

// LINEAGE and GENERATION after the last event. INVALID_ARGUMENT names the first event that does not
// follow from the one before it. Signatures are not looked at.
struct Standing {
  Digest lineage{};
  std::uint64_t generation = 0;
};
Result<Standing> replay(const EventLog& log);

std::string_view to_string(EventKind kind);

}  // namespace vtpm::identity
