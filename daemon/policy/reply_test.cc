// SPDX-License-Identifier: Apache-2.0
// TPMA_STARTUP_CLEAR.readOnly in replies.
#include <gtest/gtest.h>

#include "policy/policy.h"
#include "policy/test_frames.h"

namespace vtpm::policy {
namespace {

using test::command;
using test::hex;
using test::reply;

constexpr std::uint32_t kHmac = 0x02000000;

class PatchReply : public testing::Test {
 protected:
  const Bytes question_ = command("GetCapability", {}, {}, hex("000000060000020000000002"));
  // TPM_PT_PERMANENT, TPM_PT_STARTUP_CLEAR (phEnable, shEnable, ehEnable, orderly)
  const Bytes answer_ =
      reply(hex("00"
                "00000006"
                "00000002"
                "0000020000000000"
                "000002018000000f"));
};

TEST_F(PatchReply, ShowsReadOnly) {
  Bytes shown = answer_;
  Gate({}).patch_reply(question_, shown);
  Bytes expected = answer_;
  expected.back() = std::byte{0x1f};
  EXPECT_EQ(to_hex(shown), to_hex(expected));
}

TEST_F(PatchReply, LeavesEverythingElseAlone) {
  const auto unchanged = [&](const Gate& gate, const Bytes& frame, const Bytes& before) {
    Bytes after = before;
    gate.patch_reply(frame, after);
    return after == before;
  };
  const Gate gate({});
  EXPECT_TRUE(unchanged(Gate({.mode = Mode::read_write}), question_, answer_));
  EXPECT_TRUE(unchanged(gate, command("GetRandom", {}, {}, hex("0020")), answer_));
  EXPECT_TRUE(unchanged(
      gate, command("GetCapability", {}, {kHmac}, hex("000000060000020000000002")), answer_));
  Bytes other = answer_;
  other[14] = std::byte{7};  // another capability
  EXPECT_TRUE(unchanged(gate, question_, other));
  Bytes failed = answer_;
  failed[9] = std::byte{1};
  EXPECT_TRUE(unchanged(gate, question_, failed));
  Bytes sessions = answer_;
  sessions[1] = std::byte{2};
  EXPECT_TRUE(unchanged(gate, question_, sessions));
  for (std::size_t n = 0; n < answer_.size(); ++n) {
    Bytes cut(answer_.begin(), answer_.begin() + static_cast<std::ptrdiff_t>(n));
    if (n >= 6) store_be32(cut.data() + 2, static_cast<std::uint32_t>(n));
    EXPECT_TRUE(unchanged(gate, question_, cut)) << n;
  }
}

}  // namespace
}  // namespace vtpm::policy
