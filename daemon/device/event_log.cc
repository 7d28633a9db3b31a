// SPDX-License-Identifier: Apache-2.0
#include "device/event_log.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <set>
#include <utility>

namespace vtpm::device {
namespace {

// PFP 10.4.5.1, TCG_EfiSpecIdEvent: with its zero.
constexpr std::string_view kSignature("Spec ID Event03\0", 16);
constexpr std::uint8_t kUintn64 = 2;  // two 32-bit words
constexpr std::size_t kSha1Size = 20;
// PFP 3.3.2.2: "0" from a platform that found no error.
constexpr std::array<std::byte, 4> kNoError{};

void put16(Bytes& out, std::uint16_t v) {
  Writer(out).u8(static_cast<std::uint8_t>(v)).u8(static_cast<std::uint8_t>(v >> 8));
}
void put32(Bytes& out, std::uint32_t v) {
  put16(out, static_cast<std::uint16_t>(v));
  put16(out, static_cast<std::uint16_t>(v >> 16));
}
std::uint32_t get32(Reader& in) {
  const std::uint32_t low = in.u8();
  const std::uint32_t second = in.u8();
  const std::uint32_t third = in.u8();
  return low | second << 8 | third << 16 | std::uint32_t{in.u8()} << 24;
}

// TCG_PCClientPCREvent: of the old format, so that every parser can read the one event that tells
// the format of the others.
Bytes header() {
  Bytes spec;
  Writer(spec).bytes(as_bytes(kSignature));
  put32(spec, 0);                               // platform class: client
  Writer(spec).u8(0).u8(2).u8(0).u8(kUintn64);  // version 2.0, errata 0
  put32(spec, static_cast<std::uint32_t>(kHashBanks.size()));
  for (const HashBank& bank : kHashBanks) {
    put16(spec, bank.algorithm);
    put16(spec, static_cast<std::uint16_t>(bank.size));
  }
  Writer(spec).u8(0);  // no vendor info
  Bytes out;
  put32(out, 0);
  put32(out, static_cast<std::uint32_t>(EventType::no_action));
  out.resize(out.size() + kSha1Size);
  put32(out, static_cast<std::uint32_t>(spec.size()));
  Writer(out).bytes(spec);
  return out;
}

// Its data: the text and a zero, as boot loaders write it; of a separator four zeros.
Bytes data_of(const Event& event) {
  if (event.type == EventType::separator) return to_bytes(kNoError);
  Bytes data = to_bytes(as_bytes(event.what));
  data.push_back(std::byte{0});
  return data;
}

Result<Digests> digests_of(ByteView bytes) {
  Digests digests{};
  std::byte* at = digests.data();
  for (const HashBank& bank : kHashBanks) {
    const EVP_MD* hash = EVP_get_digestbyname(bank.name);
    if (hash == nullptr ||
        EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(at), nullptr, hash,
                   nullptr) != 1)
      return fail(ErrorCode::internal, fmt::format("OpenSSL does not compute {}", bank.name));
    at += bank.size;
  }
  return digests;
}

Result<void> check(const std::vector<Event>& measured) {
  if (measured.size() > kMaxMeasurements)
    return fail(
        ErrorCode::too_large,
        fmt::format("{} things to measure are more than {}", measured.size(), kMaxMeasurements),
        "write a list of their digests into a file and measure that");
  std::size_t texts = 0;
  for (const Event& event : measured) {
    if (event.measurement.pcr >= kMeasurablePcrs)
      return fail(ErrorCode::invalid_argument,
                  fmt::format("nothing can be measured into PCR {}", event.measurement.pcr),
                  "use one of 0 to 15: the others can be reset without a power cycle");
    const bool control =
        std::ranges::any_of(event.what, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
    if (event.what.empty() || control)
      return fail(ErrorCode::invalid_argument,
                  "a text to measure, or the name of a file, is empty or has a control character",
                  "write the text into a file and measure that");
    texts += event.what.size();
  }
  if (texts > kMaxEventTexts)
    return fail(
        ErrorCode::too_large,
        fmt::format("the words of all measurements have more than {} bytes", kMaxEventTexts),
        "write the longest text into a file and measure that");
  return {};
}

Event read_event(Reader& in) {
  Event event;
  const std::uint32_t pcr = get32(in);
  event.type = static_cast<EventType>(get32(in));
  const std::uint32_t banks = get32(in);
  if (pcr >= kMeasurablePcrs || banks != kHashBanks.size()) in.fail();
  event.measurement.pcr = static_cast<std::uint8_t>(pcr);
  std::byte* at = event.measurement.digests.data();
  for (const HashBank& bank : kHashBanks) {
    in.u16();  // the algorithm
    std::ranges::copy(in.bytes(bank.size), at);
    at += bank.size;
  }
  const ByteView data = in.bytes(get32(in));
  if (event.type == EventType::ipl && !data.empty())
    event.what = std::string(as_text(data.first(data.size() - 1)));
  return event;
}

}  // namespace

Result<std::vector<Event>> with_separators(std::vector<Event> measured) {
  VTPM_CHECK(check(measured));
  std::set<std::uint8_t> pcrs{kTextPcr, kFilePcr};
  for (Event& event : measured) {
    event.type = EventType::ipl;
    pcrs.insert(event.measurement.pcr);
  }
  VTPM_TRY(const Digests digests, digests_of(kNoError));
  for (const std::uint8_t pcr : pcrs)
    measured.push_back({.measurement = {.pcr = pcr, .digests = digests},
                        .type = EventType::separator,
                        .what = {}});
  return measured;
}

Bytes encode_event_log(std::span<const Event> events) {
  Bytes out = header();
  for (const Event& event : events) {
    put32(out, event.measurement.pcr);
    put32(out, static_cast<std::uint32_t>(event.type));
    put32(out, static_cast<std::uint32_t>(kHashBanks.size()));
    ByteView digests(event.measurement.digests);
    for (const HashBank& bank : kHashBanks) {
      put16(out, bank.algorithm);
      Writer(out).bytes(digests.first(bank.size));
      digests = digests.subspan(bank.size);
    }
    const Bytes data = data_of(event);
    put32(out, static_cast<std::uint32_t>(data.size()));
    Writer(out).bytes(data);
  }
  return out;
}

Result<std::vector<Event>> decode_event_log(ByteView log) {
  const auto corrupt = [] { return fail(ErrorCode::corrupt, "the event log is malformed"); };
  Reader in(log);
  in.bytes(header().size());
  std::vector<Event> events;
  while (in.ok() && !in.rest().empty() && events.size() < kMaxEvents)
    events.push_back(read_event(in));
  if (!in.done()) return corrupt();
  // Nothing else than what a power-on puts together, byte by byte.
  std::erase_if(events, [](const Event& event) { return event.type == EventType::separator; });
  auto again = with_separators(std::move(events));
  if (!again || encode_event_log(*again) != to_bytes(log)) return corrupt();
  return again;
}

}  // namespace vtpm::device
