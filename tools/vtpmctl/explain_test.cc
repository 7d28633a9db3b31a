// SPDX-License-Identifier: Apache-2.0
// explain: the gate's answer without a vtpmd.
#include <gmock/gmock.h>

#include <fstream>

#include "capture.h"
#include "fake_vtpmd.h"

namespace vtpm::ctl {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kRefused = 8;
// GetRandom(32 bytes); Sign with a key at 0x80000001 and the password "sesame"; PCR_Read.
const std::string kGetRandom = "8001 0000000c 0000017b 0020";
const std::string kSign =
    "8002 00000025 0000015d 80000001 0000000f 40000009 0000 00 0006 736573616d65 0000 00 00";

class Explain : public VtpmctlTest {
 protected:
  std::string file(const std::string& content) {
    const auto path = dir.path() / "capture";
    std::ofstream(path, std::ios::binary) << content;
    return path.string();
  }
};

TEST_F(Explain, AnAllowedFrame) {
  EXPECT_EQ(run({"explain", kGetRandom}), 0) << err;
  EXPECT_THAT(out, HasSubstr("TPM2_GetRandom"));
  EXPECT_THAT(out, HasSubstr("allowed"));
  EXPECT_EQ(run({"explain", "8001", "0000000c", "0000017b", "0020"}), 0) << err;
}

TEST_F(Explain, ARefusedFrameAndWhyButNoPassword) {
  EXPECT_EQ(run({"explain", kSign}), kRefused);
  EXPECT_THAT(out, HasSubstr("TPM2_Sign"));
  EXPECT_THAT(out, HasSubstr("0x80000001"));
  EXPECT_THAT(out, HasSubstr("TPM_RC_READ_ONLY"));
  EXPECT_THAT(out, HasSubstr("uses a key"));
  EXPECT_THAT(out + err, Not(HasSubstr("736573")));
  EXPECT_THAT(out + err, Not(HasSubstr("sesame")));
}

TEST_F(Explain, TheModeDecides) {
  EXPECT_EQ(run({"explain", kSign, "--mode", "read-write"}), 0) << err;
  EXPECT_THAT(out, HasSubstr("allowed"));
  EXPECT_EQ(run({"explain", kSign, "--mode", "sometimes"}), 2);
}

TEST_F(Explain, AFileOfFramesBinaryOrText) {
  const std::string random("\x80\x01\0\0\0\x0c\0\0\x01\x7b\0\x20", 12);
  const std::string clear("\x80\x01\0\0\0\x0a\0\0\x01\x26", 10);
  EXPECT_EQ(run({"explain", file(random + clear + random), "-o", "json"}), kRefused) << err;
  ASSERT_EQ(json().size(), 3U);
  EXPECT_EQ(json()[0]["command"], "TPM2_GetRandom");
  EXPECT_EQ(json()[0]["allowed"], true);
  EXPECT_EQ(json()[1]["command_code"], 0x126);
  EXPECT_EQ(json()[1]["allowed"], false);
  EXPECT_EQ(json()[2]["allowed"], true);

  EXPECT_EQ(run({"explain", file("# random\n80:01:00:00:00:0c 0000017b\n0020 # end\n")}), 0) << err;
  EXPECT_THAT(out, HasSubstr("TPM2_GetRandom"));
}

TEST_F(Explain, StandardInput) {
  typed = kGetRandom + "\n";
  EXPECT_EQ(run({"explain", "-"}), 0) << err;
  EXPECT_THAT(out, HasSubstr("TPM2_GetRandom"));
}

TEST_F(Explain, WhatIsNoFrameIsSaidSo) {
  EXPECT_EQ(run({"explain", "no-such-file"}), 2);
  EXPECT_THAT(err, HasSubstr("neither"));
  EXPECT_EQ(run({"explain", file("")}), 2);
  EXPECT_THAT(err, HasSubstr("no frame"));
  EXPECT_EQ(run({"explain", file(std::string(kMaxCapture + 1, '\x80'))}), 2);
  EXPECT_THAT(err, HasSubstr("1 MiB"));
}

TEST_F(Explain, MalformedFramesGetTheEnginesAnswer) {
  EXPECT_EQ(run({"explain", "8001 0000000d 0000017b 0020", "-o", "json"}), kRefused) << err;
  EXPECT_EQ(json()[0]["response_code"], 0x142);
  EXPECT_EQ(run({"explain", "80010000000a0000ffff", "-o", "json"}), kRefused);
  EXPECT_EQ(json()[0]["response_code"], 0x143);
  EXPECT_EQ(run({"explain", file("\x80\x01")}), kRefused);
}

TEST_F(Explain, ResponseCodes) {
  EXPECT_EQ(run({"explain", "0x156"}), 0) << err;
  EXPECT_THAT(out, HasSubstr("TPM_RC_READ_ONLY\n"));
  EXPECT_THAT(out, HasSubstr("read-only mode"));
  EXPECT_EQ(run({"explain", "342", "-o", "json"}), 0) << err;
  EXPECT_EQ(json()["name"], "TPM_RC_READ_ONLY");
  EXPECT_EQ(run({"explain", "0x922"}), 0);
  EXPECT_THAT(err, HasSubstr("rc_decode"));
}

TEST(Capture, EveryByteIsInExactlyOneFrame) {
  Bytes bytes;
  for (int i = 0; i < 300; ++i) bytes.push_back(static_cast<std::byte>(i * 37 % 11));
  for (std::size_t size = 0; size <= bytes.size(); ++size) {
    std::size_t sum = 0;
    for (const ByteView frame : split_frames(ByteView(bytes).first(size))) {
      EXPECT_FALSE(frame.empty());
      sum += frame.size();
    }
    EXPECT_EQ(sum, size);
  }
}

}  // namespace
}  // namespace vtpm::ctl
