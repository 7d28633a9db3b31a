// SPDX-License-Identifier: Apache-2.0
// What a verifier is given by somebody who may lie: files of PEM, and evidence of a descent.
//
//   0   UINT8   0: the rest is a file; else evidence:
//   1   UINT16  which bit is changed in what was accepted
//   3   UINT8   the least generation
//   4   sized: root; issuers; certificate; log; kin; lists; then, if there is more, a live proof
#include "identity/verify.h"

#include "check.h"
#include "identity/openssl.h"
#include "identity/pem.h"

namespace vtpm::fuzz {
namespace {

using namespace identity;  // NOLINT(google-build-using-namespace)

// What is read is in the file: written again and read again it is the same.
void pem(ByteView bytes) {
  const auto content = read_pem(as_text(bytes));
  FUZZ_CHECK(ERR_peek_error() == 0);
  if (!content) return;
  FUZZ_CHECK(!content->certificates.empty() || !content->lists.empty());
  std::size_t held = 0;
  for (const auto* part : {&content->certificates, &content->lists})
    for (const Bytes& der : *part) held += der.size();
  FUZZ_CHECK(held < bytes.size());
  for (const Bytes& der : content->certificates) {
    const auto again = to_pem(der);
    (void)key_name(der);
    ERR_clear_error();
    if (!again) continue;
    FUZZ_CHECK(describe_certificate(*again));
    const auto once_more = read_pem(*again);
    FUZZ_CHECK(once_more && to_pem(once_more->certificates.at(0)) == *again);
  }
}

std::vector<Bytes> several(Reader& in) {
  constexpr unsigned kMany = 4;
  const unsigned count = in.u8() % kMany;
  std::vector<Bytes> all;
  for (unsigned i = 0; i < count; i++) all.push_back(to_bytes(in.sized16()));
  return all;
}

void flip(MutableByteView bytes, unsigned bit) {
  if (!bytes.empty()) bytes[bit / 8 % bytes.size()] ^= static_cast<std::byte>(1U << bit % 8);
}

template <class Change>
void must_fail(const Evidence& evidence, Step last, Change change) {
  Evidence changed = evidence;
  change(changed);
  const auto verified = verify(changed);
  FUZZ_CHECK(!verified && verified.error().step <= last);
}

void evidence(ByteView bytes) {
  Reader in(bytes);
  const unsigned bit = in.u16();
  Evidence shown;
  shown.least_generation = in.u8();
  shown.root = to_bytes(in.sized16());
  shown.issuers = several(in);
  shown.certificate = to_bytes(in.sized16());
  shown.log = as_text(in.sized16());
  shown.kin = several(in);
  shown.lists = several(in);
  if (!in.rest().empty()) {
    LiveProof& live = shown.live.emplace();
    for (Bytes* const part : {&live.nonce, &live.lineage.attest, &live.lineage.signature,
                              &live.generation.attest, &live.generation.signature})
      *part = to_bytes(in.sized16());
  }
  const auto verified = verify(shown);
  FUZZ_CHECK(ERR_peek_error() == 0);
  FUZZ_CHECK(verified || !verified.error().why.empty());
  if (!verified) return;
  FUZZ_CHECK(verified->descent.generation >= shown.least_generation && verified->events > 0);
  FUZZ_CHECK(shown.log.find(verified->device.to_string()) != std::string::npos);
  must_fail(shown, Step::chain, [&](Evidence& e) { flip(e.certificate, bit); });
  if (shown.issuers.size() == 1)  // each of several may be one that is not needed
    must_fail(shown, Step::chain, [&](Evidence& e) { flip(e.issuers.front(), bit); });
  must_fail(shown, Step::log, [&](Evidence& e) {
    e.log[bit / 8 % e.log.size()] ^= static_cast<char>(1U << bit % 8);
  });
  if (!shown.live) return;
  const auto live = [&](auto part) {
    must_fail(shown, Step::live, [&](Evidence& e) { flip(part(*e.live), bit); });
  };
  if (!shown.live->nonce.empty()) live([](LiveProof& p) -> Bytes& { return p.nonce; });
  live([](LiveProof& p) -> Bytes& { return p.lineage.attest; });
  live([](LiveProof& p) -> Bytes& { return p.generation.signature; });
}

void check(ByteView input) {
  if (input.empty()) return;
  const Bytes exact = to_bytes(input.subspan(1));
  input[0] == std::byte{0} ? pem(exact) : evidence(exact);
}

}  // namespace
}  // namespace vtpm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vtpm::fuzz::check(std::as_bytes(std::span(data, size)));
  return 0;
}
