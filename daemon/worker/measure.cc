// SPDX-License-Identifier: Apache-2.0
#include "worker/measure.h"

#include "frame/frame.h"
#include "worker/own_command.h"

namespace vtpm::worker {
namespace {

// Part 2, 10.9.3, TPML_DIGEST_VALUES.
Bytes digest_values(const Digests& digests) {
  Bytes values;
  Writer w(values);
  w.u32(static_cast<std::uint32_t>(kHashBanks.size()));
  ByteView rest(digests);
  for (const HashBank& bank : kHashBanks) {
    w.u16(bank.algorithm).bytes(rest.first(bank.size));
    rest = rest.subspan(bank.size);
  }
  return values;
}

}  // namespace

Result<void> extend_measurements(engine::Engine& engine,
                                 std::span<const Measurement> measurements) {
  for (const Measurement& measurement : measurements)
    VTPM_CHECK(run_own(engine, {frame::kCcPcrExtend, {measurement.pcr}, 1},
                       digest_values(measurement.digests)));
  return {};
}

}  // namespace vtpm::worker
