// SPDX-License-Identifier: Apache-2.0
#include "identity/event.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <ctime>

#include "identity/openssl.h"

namespace vtpm::identity {
namespace {

constexpr std::array<std::string_view, 4> kKinds = {"create", "promote", "clone", "rollback"};
constexpr std::size_t kLongestSignature = 128;      // of P-384, by far
constexpr std::int64_t kLastSecond = 253402300799;  // 9999-12-31T23:59:59Z

bool is_birth(EventKind kind) { return kind == EventKind::create || kind == EventKind::promote; }

std::string utc_text(std::int64_t seconds) {
  const std::time_t time = seconds;
  std::tm parts{};
  (void)::gmtime_r(&time, &parts);  // for no second up to kLastSecond it fails
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

// Takes text apart from its front; the first thing that is not as expected makes it fail for good.
// Leniency does no harm here: who calls writes what was read again, and compares.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}
  void literal(std::string_view wanted) {
    if (!rest_.starts_with(wanted)) return fail();
    rest_.remove_prefix(wanted.size());
  }
  [[nodiscard]] bool next_is(std::string_view wanted) const { return rest_.starts_with(wanted); }
  std::string_view until(char end) {
    const std::size_t at = rest_.find(end);
    if (at == std::string_view::npos) {
      fail();
      return {};
    }
    const std::string_view found = rest_.substr(0, at);
    rest_.remove_prefix(at);
    return found;
  }
  std::uint64_t number() {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error != std::errc()) {
      fail();
      return 0;
    }
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    return value;
  }
  void fail() {
    ok_ = false;
    rest_ = {};
  }
  [[nodiscard]] bool done() const { return ok_ && rest_.empty(); }
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

Digest scan_digest(Scanner& in) {
  Digest digest{};
  const auto bytes = from_hex(in.until('"'));
  if (bytes && bytes->size() == digest.size())
    std::ranges::copy(*bytes, digest.begin());
  else
    in.fail();
  return digest;
}

Uuid scan_uuid(Scanner& in) {
  const auto uuid = Uuid::parse(std::string(in.until('"')));
  if (!uuid) in.fail();
  return uuid.value_or(Uuid{});
}

EventKind scan_kind(Scanner& in) {
  const auto* const found = std::ranges::find(kKinds, in.until('"'));
  if (found == kKinds.end()) in.fail();
  return static_cast<EventKind>(found - kKinds.begin() + 1);
}

std::int64_t scan_time(Scanner& in) {
  const std::string text(in.until('"'));
  std::tm parts{};
  const char* const end = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  const std::int64_t seconds = ::timegm(&parts);
  if (end == nullptr || *end != '\0' || seconds < 0 || seconds > kLastSecond) in.fail();
  return in.ok() ? seconds : 0;
}

Event scan_event(Scanner& in) {
  Event event;
  in.literal(R"({"device":")");
  event.device = scan_uuid(in);
  in.literal(R"(","generation":)");
  event.generation = in.number();
  in.literal(R"(,"kind":")");
  event.kind = scan_kind(in);
  in.literal(R"(","parent":)");
  if (in.next_is("null")) {
    in.literal("null");
  } else {
    in.literal("\"");
    event.parent = scan_uuid(in);
    in.literal("\"");
  }
  in.literal(R"(,"parent_lineage":")");
  event.parent_lineage = scan_digest(in);
  in.literal(R"(","random":")");
  event.random = scan_digest(in);
  in.literal(R"(","time":")");
  event.time = scan_time(in);
  in.literal("\"}");
  return event;
}

std::string line_of(const SignedEvent& entry) {
  return fmt::format("{{\"event\":{},\"signature\":\"{}\"}}\n", to_json(entry.event),
                     to_hex(entry.signature));
}

tl::unexpected<Error> does_not_follow(std::size_t at, const char* why) {
  return fail(ErrorCode::invalid_argument, fmt::format("event {} {}", at + 1, why));
}

}  // namespace

Result<Digest> sha256(ByteView bytes) {
  Digest digest{};
  if (EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()),
                 nullptr, EVP_sha256(), nullptr) != 1)
    return fail_openssl("compute a digest");
  return digest;
}

std::string_view to_string(EventKind kind) { return kKinds.at(static_cast<std::size_t>(kind) - 1); }

std::string to_json(const Event& event) {
  const std::string parent = event.parent ? '"' + event.parent->to_string() + '"' : "null";
  return fmt::format(
      R"({{"device":"{}","generation":{},"kind":"{}","parent":{},"parent_lineage":"{}",)"
      R"("random":"{}","time":"{}"}})",
      event.device.to_string(), event.generation, to_string(event.kind), parent,
      to_hex(event.parent_lineage), to_hex(event.random), utc_text(event.time));
}

Result<Event> parse_event(std::string_view json) {
  Scanner in(json);
  Event event = scan_event(in);
  const bool sound = in.done() && event.generation > 0 && event.generation <= kLastGeneration &&
                     is_birth(event.kind) == !event.parent && to_json(event) == json;
  if (!sound) return fail(ErrorCode::invalid_argument, "this is no event of an identity");
  return event;
}

Result<Digest> digest_of(const Event& event) { return sha256(as_bytes(to_json(event))); }

Result<Digest> extended(const Digest& lineage, const Digest& event_digest) {
  Bytes both;
  Writer(both).bytes(lineage).bytes(event_digest);
  return sha256(both);
}

std::string to_text(const EventLog& log) {
  std::string text;
  for (const SignedEvent& entry : log) text += line_of(entry);
  return text;
}

Result<EventLog> parse_log(std::string_view text) {
  if (text.size() > kLongestLog)
    return fail(ErrorCode::too_large, "the log is longer than any that vtpmd writes");
  constexpr std::string_view kBegin = R"({"event":)", kMiddle = R"(,"signature":")";
  EventLog log;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n') + 1);  // npos + 1 = 0
    const std::size_t middle = line.find(kMiddle);
    const auto refused = [&log] {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("line {} of the log is no event of an identity", log.size() + 1));
    };
    if (!line.starts_with(kBegin) || middle == std::string_view::npos) return refused();
    const auto event = parse_event(line.substr(kBegin.size(), middle - kBegin.size()));
    const std::string_view after = line.substr(middle + kMiddle.size());
    auto signature = from_hex(after.substr(0, after.find('"')));
    if (!event || !signature || signature->size() > kLongestSignature) return refused();
    log.push_back({*event, *std::move(signature)});
    if (line_of(log.back()) != line) return refused();
    text.remove_prefix(line.size());
  }
  return log;
}

Result<Standing> replay(const EventLog& log) {
  if (log.empty()) return fail(ErrorCode::invalid_argument, "the log is empty");
  Standing now;
  for (std::size_t i = 0; i < log.size(); i++) {
    const Event& event = log[i].event;
    if (is_birth(event.kind) != (i == 0))
      return does_not_follow(i, i == 0 ? "is no birth" : "is a second birth");
    if (i > 0 && event.parent != log[i - 1].event.device)
      return does_not_follow(i, "is of another parent than the device before it");
    if (event.parent_lineage != now.lineage)
      return does_not_follow(i, "does not go on from the lineage before it");
    if (event.generation <= now.generation)
      return does_not_follow(i, "has a generation that was there before");
    VTPM_TRY(const Digest digest, digest_of(event));
    VTPM_TRY(now.lineage, extended(now.lineage, digest));
    now.generation = event.generation;
  }
  return now;
}

}  // namespace vtpm::identity
