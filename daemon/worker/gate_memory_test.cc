// SPDX-License-Identifier: Apache-2.0
// A worker that goes on from a checkpoint refuses no more than the one before it would have.
#include <gtest/gtest.h>

#include "worker/test_worker.h"

namespace vtpm::worker::testing {
namespace {

using engine::testing::kNull;
using engine::testing::kPlatform;
using privsep::Ready;
using privsep::Stop;
using privsep::Stopped;

constexpr std::uint32_t kRcReadOnly = 0x156;

// The null primary of Linux, byte for byte (drivers/char/tpm/tpm2-sessions.c).
const Bytes kLinuxPrimary = *from_hex(
    "800200000043000001314000000700000009400000090000000000000400"
    "000000001a0023000b00030472000000060080004300100003001000000000000000000000");

class GateMemory : public WorkerTest {
 protected:
  GateMemory() {
    start_.mode = privsep::DeviceMode::read_only;
    start_.kind = privsep::DeviceKind::open;  // its platform hierarchy is open
    start_.checkpoint.permanent.clear();
    start_.linux_hmac = true;
  }
  void park_and_wake() {
    tell(Stop{Stop::How::park});
    for (auto message = next(); message; message = next())
      if (std::holds_alternative<Stopped>(*message)) break;
    EXPECT_EQ(status(), 0);
    resume_from(newest());
    launch();
    expect<Ready>();
  }
  // A session salted for `key`, with a salt that no TPM takes: what the gate says shows.
  [[nodiscard]] std::uint32_t salted_session(std::uint32_t key) const {
    const Bytes nonce(16, std::byte{1}), salt(8, std::byte{2});
    return Client(data_path())
        .run(command(0x176, {key, kNull}, 0,
                     Parameters().sized(nonce).sized(salt).u8(0).u16(0x10).u16(0x0b).bytes))
        .rc;
  }
};

TEST_F(GateMemory, AnAllocationEqualToTheBanksInForceIsAlwaysAllowed) {
  launch();
  expect<Ready>();
  const Reply banks =
      Client(data_path()).run(command(0x17a, {}, 0, Parameters().u32(5).u32(0).u32(1).bytes));
  ASSERT_EQ(banks.rc, 0U);
  const Bytes allocation(banks.body.begin() + 5, banks.body.end());
  const Bytes same = command(0x12b, {kPlatform}, 1, allocation);
  const Bytes other =
      command(0x12b, {kPlatform}, 1, Parameters().u32(1).u16(0x0b).u8(3).u8(1).u8(0).u8(0).bytes);
  for (int round = 0; round < 2; round++) {
    park_and_wake();
    EXPECT_EQ(Client(data_path()).run(same).rc, 0U) << round;
    EXPECT_EQ(Client(data_path()).run(other).rc, kRcReadOnly) << round;
  }
}

TEST_F(GateMemory, TheNullPrimaryOfLinuxIsKnownAgain) {
  launch();
  expect<Ready>();
  const Reply sequence =
      Client(data_path()).run(command(0x186, {}, 0, Parameters().u16(0).u16(0x0b).bytes));
  ASSERT_EQ(sequence.rc, 0U);
  const Reply primary = Client(data_path()).run(kLinuxPrimary);
  ASSERT_EQ(primary.rc, 0U) << std::hex << primary.rc;
  const std::uint32_t key = load_be32(primary.body.data());
  ASSERT_NE(salted_session(key), kRcReadOnly);
  park_and_wake();
  EXPECT_NE(salted_session(key), kRcReadOnly);
  EXPECT_EQ(salted_session(load_be32(sequence.body.data())), kRcReadOnly) << "a sequence is no key";
  EXPECT_EQ(salted_session(0x80000002), kRcReadOnly) << "nothing is there";
  ASSERT_EQ(Client(data_path()).run(command(0x165, {}, 0, Parameters().u32(key).bytes)).rc, 0U);
  EXPECT_EQ(salted_session(key), kRcReadOnly) << "it was flushed";
}

}  // namespace
}  // namespace vtpm::worker::testing
