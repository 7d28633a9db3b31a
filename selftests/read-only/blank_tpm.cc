// SPDX-License-Identifier: Apache-2.0
// blank-tpm [--public-null]: a TPM in the state that every read-only device begins from, without
// the gate before it. That state is public, so this is what anybody can run who wants to make
// something that a read-only device, or what becomes of one, would take for its own.
//
// Commands come one after the other on standard input, replies go to standard output. TPM2_Startup
// has been sent. With --public-null, the null proof and the null seed are zero as well: what
// somebody would know of a device that drew none.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string_view>

#include "base/bytes.h"
#include "engine/blank_template.h"
#include "engine/libtpms_host.h"
#include "engine/state_blob.h"

namespace vtpm::engine {
namespace {

constexpr std::size_t kHeaderSize = 10;
constexpr std::size_t kMaxFrame = 4096;
constexpr std::array<std::uint8_t, 12> kStartup{0x80, 0x01, 0, 0, 0, 0x0c, 0, 0, 0x01, 0x44, 0, 0};

Result<SecretBytes> with_public_null(ByteView volatile_state) {
  SecretBytes blob = to_secret(volatile_state);
  VTPM_TRY(const VolatileLayout v, parse_volatile(blob));
  for (const Field& field : {v.null_proof, v.null_seed})
    std::fill_n(blob.begin() + static_cast<std::ptrdiff_t>(field.offset), field.size, std::byte{0});
  VTPM_CHECK(rehash_volatile(blob));
  return blob;
}

Result<std::unique_ptr<LibtpmsHost>> power_on(bool public_null) {
  VTPM_TRY(const ByteView blank, blank_template());
  VTPM_TRY(auto tpm, LibtpmsHost::power_on(blank, {}));
  VTPM_TRY(const ByteView reply, tpm->process(std::as_bytes(std::span(kStartup)), 0));
  if (reply.size() < kHeaderSize || load_be32(reply.data() + 6) != 0)
    return fail(ErrorCode::internal, "TPM2_Startup fails");
  if (!public_null) return tpm;
  SecretBytes running;
  VTPM_CHECK(tpm->read_volatile_state(running));
  VTPM_TRY(const SecretBytes forged, with_public_null(running));
  const SecretBytes permanent = to_secret(tpm->permanent());
  tpm.reset();  // libtpms has one TPM at a time
  return LibtpmsHost::power_on(permanent, forged);
}

// One command; empty at the end of the input.
Bytes read_frame() {
  Bytes frame(kHeaderSize);
  if (std::fread(frame.data(), 1, kHeaderSize, stdin) != kHeaderSize) return {};
  const std::size_t size = load_be32(frame.data() + 2);
  if (size < kHeaderSize || size > kMaxFrame) return {};
  frame.resize(size);
  const std::size_t rest = size - kHeaderSize;
  if (std::fread(frame.data() + kHeaderSize, 1, rest, stdin) != rest) return {};
  return frame;
}

Result<void> serve(bool public_null) {
  VTPM_TRY(const auto tpm, power_on(public_null));
  for (Bytes frame = read_frame(); !frame.empty(); frame = read_frame()) {
    VTPM_TRY(const ByteView reply, tpm->process(frame, 0));
    const bool written = std::fwrite(reply.data(), 1, reply.size(), stdout) == reply.size();
    if (!written || std::fflush(stdout) != 0)
      return fail(ErrorCode::io, "standard output is closed");
  }
  return {};
}

}  // namespace
}  // namespace vtpm::engine

int main(int argc, char** argv) {
  const bool public_null = argc == 2 && std::string_view(argv[1]) == "--public-null";
  if (argc > 1 && !public_null) {
    (void)std::fputs("usage: blank-tpm [--public-null]\n", stderr);
    return 2;
  }
  const auto done = vtpm::engine::serve(public_null);
  if (!done) (void)std::fprintf(stderr, "blank-tpm: %s\n", done.error().message.c_str());
  return done ? 0 : 1;
}
