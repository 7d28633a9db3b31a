// SPDX-License-Identifier: Apache-2.0
// What `vtpmctl import` is given: files that somebody made up for this host, a file that was
// changed on its way, and, as whoever has the recipient's key may seal what he likes, any content.
//
//   0   UINT8   which of them
//   1   0, 1: its bytes; 2: UINT16 bytes that are left (0xffff: all), then UINT16 place and UINT8
//   bits to turn
#include "device/parcel.h"

#include <algorithm>

#include "check.h"
#include "identity/hpke.h"

namespace vtpm::fuzz {
namespace {

using device::Parcel;

constexpr std::size_t kRecipientAt = 11 + 1 + 16;

struct Host {
  SecretBytes key = identity::make_exchange_key().value();
  Bytes point = identity::exchange_public_key(key).value();
  identity::Digest digest = identity::sha256(point).value();
};

const Host& host() {
  static const Host one;
  return one;
}

Parcel some_parcel() {
  Parcel parcel;
  parcel.uuid.bytes.fill(std::byte{7});
  parcel.settings.name = "web";
  parcel.epoch = 9;
  parcel.permanent = SecretBytes(100, std::byte{1});
  parcel.lineage = SecretBytes(50, std::byte{2});
  return parcel;
}

bool same(const Parcel& a, const Parcel& b) { return a.uuid == b.uuid && encode(a) == encode(b); }

// Nobody has sealed it.
void made_up(Bytes file) {
  const bool whole = file.size() >= kRecipientAt + host().digest.size();
  if (whole) std::ranges::copy(host().digest, file.begin() + kRecipientAt);
  const auto ours = device::is_for(file, host().point);
  FUZZ_CHECK(!ours || (whole && *ours));
  const auto opened = device::open_parcel(file, host().key);
  FUZZ_CHECK(!opened);
  FUZZ_CHECK(opened.error().code == (ours ? ErrorCode::corrupt : ErrorCode::invalid_argument));
}

// There is one way to write it, so what was read is what was there, or it was refused.
void content(ByteView plain) {
  const auto parcel = device::decode_parcel(plain);
  if (!parcel) return;
  FUZZ_CHECK(std::ranges::equal(encode(*parcel), plain));
  FUZZ_CHECK(!device::decode_parcel(plain.first(plain.size() - 1)));
}

void changed(ByteView changes) {
  static const Bytes sealed = device::seal(some_parcel(), host().point).value();
  Reader in(changes);
  Bytes file = sealed;
  constexpr std::uint16_t kAll = 0xffff;
  if (const std::uint16_t left = in.u16(); left != kAll)
    file.resize(std::min<std::size_t>(left, sealed.size() + 8));
  while (in.ok() && !in.done()) {
    const std::size_t at = in.u16();
    const std::byte bits{in.u8()};
    if (in.ok() && at < file.size()) file[at] ^= bits;
  }
  const auto opened = device::open_parcel(file, host().key);
  FUZZ_CHECK(opened.has_value() == (file == sealed));
  if (opened) FUZZ_CHECK(same(*opened, some_parcel()));
}

void check(ByteView input) {
  if (input.empty()) return;
  const Bytes exact = to_bytes(input.subspan(1));
  switch (std::to_integer<unsigned>(input[0]) % 3) {
    case 0: return made_up(exact);
    case 1: return content(exact);
    default: return changed(exact);
  }
}

}  // namespace
}  // namespace vtpm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vtpm::fuzz::check(std::as_bytes(std::span(data, size)));
  return 0;
}
