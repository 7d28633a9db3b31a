// SPDX-License-Identifier: Apache-2.0
// What is said of a device's descent: a log of events, an extension of a certificate, the record of
// a lineage, and what a worker says is an attestation key.
//
//   0   UINT8   which of them
//   1   its bytes
#include "identity/lineage.h"

#include <algorithm>

#include "check.h"
#include "frame/lineage.h"
#include "identity/attestation_key.h"
#include "identity/descent.h"

namespace vtpm::fuzz {
namespace {

using namespace identity;  // NOLINT(google-build-using-namespace)

// There is one way to write each of them, so what was read is what was there, or it was refused.
void log(ByteView bytes) {
  const auto events = parse_log(as_text(bytes));
  if (!events) return;
  FUZZ_CHECK(to_text(*events) == as_text(bytes));
  Digest lineage{};
  for (const SignedEvent& entry : *events) {
    const auto again = parse_event(to_json(entry.event));
    FUZZ_CHECK(again && *again == entry.event);
    const auto digest = digest_of(entry.event);
    FUZZ_CHECK(digest);
    lineage = extended(lineage, *digest).value();
  }
  const auto standing = replay(*events);
  if (!standing) return;
  FUZZ_CHECK(standing->lineage == lineage && events->front().event.generation > 0);
  FUZZ_CHECK(standing->generation == events->back().event.generation);
}

void descent(ByteView bytes) {
  const auto read = decode_descent(bytes);
  if (!read) return;
  FUZZ_CHECK(std::ranges::equal(encode(*read), bytes));
  FUZZ_CHECK(!decode_descent(bytes.first(bytes.size() - 1)));
}

void record(ByteView bytes) {
  const auto read = decode_lineage(bytes);
  if (!read) return;
  FUZZ_CHECK(std::ranges::equal(encode(*read), bytes));
}

void attestation_key(ByteView bytes) {
  const Digest policy{};
  const auto key = read_attestation_key(bytes, policy);
  FUZZ_CHECK(ERR_peek_error() == 0);
  FUZZ_CHECK(key || key.error().code == ErrorCode::invalid_argument);
  const Bytes head = frame::attestation_key_head(policy);
  if (key) FUZZ_CHECK(std::ranges::equal(bytes.first(head.size()), head));
}

void check(ByteView input) {
  if (input.empty()) return;
  const Bytes exact = to_bytes(input.subspan(1));
  switch (std::to_integer<unsigned>(input[0]) % 4) {
    case 0: return log(exact);
    case 1: return descent(exact);
    case 2: return record(exact);
    default: return attestation_key(exact);
  }
}

}  // namespace
}  // namespace vtpm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vtpm::fuzz::check(std::as_bytes(std::span(data, size)));
  return 0;
}
