// SPDX-License-Identifier: Apache-2.0
// --measure and --measure-text: what is digested, where it goes, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/bytes.h"
#include "fake_vtpmd.h"

namespace vtpm::ctl {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Measure : public VtpmctlTest {
 protected:
  void SetUp() override {
    start();
    state.devices = {make_device("a"), make_device("b")};
    std::ofstream(file()) << "abc";
  }
  std::string file() { return dir.path() / "file"; }
};

std::string hex(const std::string& bytes) { return to_hex(as_bytes(bytes)); }

TEST_F(Measure, FilesThenTextsEachWithEveryDigest) {
  // FIPS 180-4's examples for "abc".
  EXPECT_EQ(run({"start", "--measure-text", "x=1", "--measure", file(), "a", "--measure",
                 "pcr=14:" + file()}),
            0)
      << err;
  EXPECT_THAT(state.calls, ElementsAre("Start a"));
  ASSERT_EQ(state.measured.list_size(), 3);
  const auto& first = state.measured.list(0);
  EXPECT_EQ(first.pcr(), 9U);
  EXPECT_EQ(first.what(), file());
  EXPECT_EQ(hex(first.sha1()), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(hex(first.sha256()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex(first.sha384()),
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded163"
            "1a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7");
  EXPECT_EQ(hex(first.sha512()),
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
  EXPECT_EQ(state.measured.list(1).pcr(), 14U);
  EXPECT_EQ(state.measured.list(1).what(), file());
  EXPECT_EQ(state.measured.list(2).pcr(), 8U);
  EXPECT_EQ(state.measured.list(2).what(), "x=1");
  // printf x=1 | sha256sum: the whole text, with its name.
  EXPECT_EQ(hex(state.measured.list(2).sha256()),
            "1f206b11c23e28cc250ded7fc0098d3823a8467a54340f1ac4e535cb8544493f");
}

TEST_F(Measure, OneListForAllDevicesAndForAPowerCycle) {
  EXPECT_EQ(run({"start", "a", "b", "--measure", file()}), 0) << err;
  EXPECT_THAT(state.calls, ElementsAre("Start a", "Start b"));
  EXPECT_EQ(state.measured.list_size(), 1);
  EXPECT_EQ(run({"power-cycle", "--yes", "--measure-text", "pcr=11:x=y", "a"}), 0) << err;
  ASSERT_EQ(state.measured.list_size(), 1);
  EXPECT_EQ(state.measured.list(0).pcr(), 11U);
  EXPECT_EQ(state.measured.list(0).what(), "x=y");
  EXPECT_EQ(run({"power-cycle", "--yes", "a"}), 0);
  EXPECT_EQ(state.measured.list_size(), 0);
}

TEST_F(Measure, WhatCannotBeMeasuredIsSaidBeforeVtpmdIsAsked) {
  const std::string folder = dir.path();
  const std::vector<std::vector<std::string>> wrong{
      {"--measure", folder + "/nothing"},
      {"--measure", folder},
      {"--measure", "pcr=16:" + file()},
      {"--measure", "pcr=-1:" + file()},
      {"--measure", "pcr=256:" + file()},
      {"--measure", "pcr=:" + file()},
      {"--measure", "pcr=9"},
      {"--measure-text", "no name"},
      {"--measure-text", "=x"},
      {"--measure-text", ""},
  };
  for (std::vector<std::string> words : wrong) {
    words.insert(words.begin(), {"start", "a"});
    EXPECT_NE(run(words), 0) << words[3];
    EXPECT_THAT(err, HasSubstr("vtpmctl: ")) << words[3];
  }
  EXPECT_THAT(state.calls, IsEmpty());
}

TEST_F(Measure, TheLogIsWrittenAsItIs) {
  EXPECT_EQ(run({"event-log", "a"}), 0) << err;
  EXPECT_EQ(out, std::string("log\0", 4));
  EXPECT_EQ(run({"event-log", "a", "-o", "json"}), 0);
  EXPECT_EQ(json()["log"], "6c6f6700");
  EXPECT_EQ(run({"event-log", "a", file()}), 0) << err;
  EXPECT_EQ(out, "");
  std::ifstream written(file(), std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(written), {}), std::string("log\0", 4));
  EXPECT_EQ(run({"event-log", "a", file() + "/x"}), 1);
  EXPECT_THAT(err, HasSubstr("Not a directory"));
  terminal = true;
  EXPECT_EQ(run({"event-log", "a"}), 2);
  EXPECT_THAT(err, HasSubstr("tpm2_eventlog FILE"));
}

}  // namespace
}  // namespace vtpm::ctl
