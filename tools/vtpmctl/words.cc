// SPDX-License-Identifier: Apache-2.0
#include "words.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <ctime>

namespace vtpm::ctl {
namespace {

template <class Enum>
std::string unknown(Enum value) {
  return fmt::format("unknown-{}", static_cast<int>(value));
}

constexpr std::uint32_t kMaxTimeoutMs = 3'600'000;                        // VTPM_TIMEOUT_MAX_MS
constexpr std::uint64_t kMaxIdleSeconds = std::uint64_t{30} * 24 * 3600;  // of vtpmd

bool is_alphanumeric(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

constexpr std::int64_t kNanosecond = 1'000'000'000;

std::time_t whole_seconds(std::int64_t nanoseconds) {
  return nanoseconds / kNanosecond - (nanoseconds % kNanosecond < 0 ? 1 : 0);
}

// Edits between two words: insert, remove, replace, or swap two neighbours.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

std::string word(v1::Mode mode) {
  switch (mode) {
    case v1::READ_ONLY: return "read-only";
    case v1::READ_WRITE: return "read-write";
    default: return unknown(mode);
  }
}

std::string word(v1::Kind kind) {
  switch (kind) {
    case v1::CONTAINER: return "container";
    case v1::VM: return "vm";
    case v1::OPEN: return "open";
    default: return unknown(kind);
  }
}

std::string word(v1::Node node) {
  switch (node) {
    case v1::KERNEL: return "kernel";
    case v1::SOCKET: return "socket";
    default: return unknown(node);
  }
}

std::string word(v1::Role role) {
  switch (role) {
    case v1::DEVICE: return "device";
    case v1::TEMPLATE: return "template";
    case v1::QUARANTINED: return "quarantined";
    case v1::RETIRED: return "retired";
    case v1::SNAPSHOT: return "snapshot";
    case v1::MOVED: return "moved";
    default: return unknown(role);
  }
}

std::string word(v1::CertProfile profile) {
  switch (profile) {
    case v1::AS_VTPMD: return "default";
    case v1::STANDARD: return "standard";
    case v1::ECC: return "ecc";
    case v1::FULL: return "full";
    default: return unknown(profile);
  }
}

std::string word(v1::State state) {
  switch (state) {
    case v1::OFF: return "off";
    case v1::STARTING: return "starting";
    case v1::ON: return "on";
    case v1::PARKED: return "parked";
    case v1::DETACHED: return "detached";
    case v1::STOPPING: return "stopping";
    case v1::FAILED: return "failed";
    default: return unknown(state);
  }
}

std::string word(v1::Event::Type type) {
  switch (type) {
    case v1::Event::CREATED: return "created";
    case v1::Event::STATE_CHANGED: return "state_changed";
    case v1::Event::DENIED_COMMAND: return "denied_command";
    case v1::Event::DELETED: return "deleted";
    case v1::Event::WORKER_REPLACED: return "worker_replaced";
    default: return unknown(type);
  }
}

std::string word(v1::DoctorReply::Status status) {
  switch (status) {
    case v1::DoctorReply::OK: return "ok";
    case v1::DoctorReply::WARNING: return "warning";
    case v1::DoctorReply::FAIL: return "fail";
    default: return unknown(status);
  }
}

Tone tone(v1::State state) {
  switch (state) {
    case v1::ON:
    case v1::PARKED: return Tone::good;
    case v1::DETACHED:
    case v1::STARTING:
    case v1::STOPPING: return Tone::doubtful;
    case v1::FAILED: return Tone::bad;
    default: return Tone::plain;
  }
}

std::optional<v1::Mode> parse_mode(std::string_view text) {
  if (text == "read-only") return v1::READ_ONLY;
  if (text == "read-write") return v1::READ_WRITE;
  return std::nullopt;
}

std::optional<v1::Kind> parse_kind(std::string_view text) {
  if (text == "container") return v1::CONTAINER;
  if (text == "vm") return v1::VM;
  if (text == "open") return v1::OPEN;
  return std::nullopt;
}

std::optional<v1::Node> parse_node(std::string_view text) {
  if (text == "kernel") return v1::KERNEL;
  if (text == "socket") return v1::SOCKET;
  return std::nullopt;
}

std::optional<v1::CertProfile> parse_cert_profile(std::string_view text) {
  for (const auto profile : {v1::AS_VTPMD, v1::STANDARD, v1::ECC, v1::FULL})
    if (text == word(profile)) return profile;
  return std::nullopt;
}

bool valid_name(std::string_view name) {
  if (name.empty() || name.size() > 63 || !is_alphanumeric(name[0])) return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return is_alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
}

Outcome<void> check_name(std::string_view name) {
  if (valid_name(name)) return {};
  return failure(Exit::usage, fmt::format("'{}' cannot be the name of a device", name),
                 "a name has 1 to 63 of the characters A-Z a-z 0-9 . _ - and begins with a letter "
                 "or a digit");
}

bool valid_snapshot_name(std::string_view name) {
  const std::size_t at = name.find('@');
  return at != std::string_view::npos && valid_name(name.substr(0, at)) &&
         valid_name(name.substr(at + 1));
}

Outcome<void> check_snapshot_name(std::string_view name) {
  if (valid_snapshot_name(name)) return {};
  return failure(Exit::usage, fmt::format("'{}' cannot be the name of a snapshot", name),
                 "it is named after its device: DEVICE@SNAPSHOT");
}

Outcome<std::uint32_t> parse_duration(std::string_view option, std::string_view text) {
  const auto bad = [&] {
    return failure(Exit::usage, fmt::format("{}: '{}' is not a duration", option, text),
                   "write a number and a unit, from 1ms to 1h: 500ms, 30s, 2m");
  };
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return bad();
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  std::uint64_t scale = 0;
  if (unit == "ms") scale = 1;
  if (unit == "s") scale = 1000;
  if (unit == "m") scale = 60'000;
  if (unit == "h") scale = 3'600'000;
  if (scale == 0 || number == 0 || number > kMaxTimeoutMs / scale) return bad();
  return static_cast<std::uint32_t>(number * scale);
}

std::string duration_text(std::uint32_t milliseconds) {
  if (milliseconds == 0) return "default";
  if (milliseconds % 60'000 == 0) return fmt::format("{}m", milliseconds / 60'000);
  if (milliseconds % 1000 == 0) return fmt::format("{}s", milliseconds / 1000);
  return fmt::format("{}ms", milliseconds);
}

Outcome<std::uint32_t> parse_idle_time(std::string_view option, std::string_view text) {
  const auto bad = [&] {
    return failure(Exit::usage, fmt::format("{}: '{}' is no time to be idle", option, text),
                   "write 'never', or a number and a unit, from 1s to 30d: 90s, 10m, 8h, 7d");
  };
  if (text == "never" || text == "0") return 0U;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return bad();
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  std::uint64_t scale = 0;
  if (unit == "s" || unit.empty()) scale = 1;  // vtpmd --park-after takes seconds without a unit
  if (unit == "m") scale = 60;
  if (unit == "h") scale = 3600;
  if (unit == "d") scale = std::uint64_t{24} * 3600;
  if (scale == 0 || number == 0 || number > kMaxIdleSeconds / scale) return bad();
  return static_cast<std::uint32_t>(number * scale);
}

std::string idle_time_text(std::uint32_t seconds) {
  if (seconds == 0) return "never";
  if (seconds % (24 * 3600) == 0) return fmt::format("{}d", seconds / (24 * 3600));
  if (seconds % 3600 == 0) return fmt::format("{}h", seconds / 3600);
  if (seconds % 60 == 0) return fmt::format("{}m", seconds / 60);
  return fmt::format("{}s", seconds);
}

std::string response_code_name(std::uint32_t code) {
  switch (code) {
    case 0x01e: return "TPM_RC_BAD_TAG";
    case 0x101: return "TPM_RC_FAILURE";
    case 0x142: return "TPM_RC_COMMAND_SIZE";
    case 0x143: return "TPM_RC_COMMAND_CODE";
    case 0x144: return "TPM_RC_AUTHSIZE";
    case 0x156: return "TPM_RC_READ_ONLY";
    case 0x907: return "TPM_RC_LOCALITY";
    default: return fmt::format("0x{:03x}", code);
  }
}

std::string command_text(const v1::DeniedCommand& denied) {
  if (!denied.command().empty()) return denied.command();
  if (denied.command_code() != 0) return fmt::format("0x{:08x}", denied.command_code());
  return "(malformed header)";
}

std::string local_time(std::int64_t nanoseconds) {
  const std::time_t seconds = whole_seconds(nanoseconds);
  std::tm parts{};
  if (::localtime_r(&seconds, &parts) == nullptr) return std::to_string(nanoseconds);
  char text[64];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts)};
}

std::string utc_time(std::int64_t nanoseconds) {
  const std::time_t seconds = whole_seconds(nanoseconds);
  std::tm parts{};
  if (::gmtime_r(&seconds, &parts) == nullptr) return std::to_string(nanoseconds);
  char text[64];
  const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:09}Z", std::string_view(text, length),
                     (nanoseconds % kNanosecond + kNanosecond) % kNanosecond);
}

std::string nearest(std::string_view word, const std::vector<std::string>& choices) {
  constexpr std::size_t kLongestWord = 64;  // nobody mistypes a verb at such length
  if (word.empty() || word.size() > kLongestWord) return {};
  std::string best;
  std::size_t least = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string& choice : choices) {
    const std::size_t edits = choice.starts_with(word) ? 1 : distance(word, choice);
    if (edits < least) {
      least = edits;
      best = choice;
    }
  }
  return best;
}

}  // namespace vtpm::ctl
