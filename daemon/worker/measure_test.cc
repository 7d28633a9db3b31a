// SPDX-License-Identifier: Apache-2.0
// Measured boot in whole workers: before any client, in every bank, once a power cycle.
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include "worker/test_worker.h"

namespace vtpm::worker::testing {
namespace {

using privsep::DeviceMode;

Measurement measurement(std::uint8_t pcr, std::uint8_t fill) {
  Measurement m;
  m.pcr = pcr;
  m.digests.fill(std::byte{fill});
  return m;
}

Bytes hash(const HashBank& bank, ByteView bytes) {
  Bytes out(bank.size);
  EXPECT_EQ(EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(out.data()),
                       nullptr, EVP_get_digestbyname(bank.name), nullptr),
            1);
  return out;
}

// What a PCR holds after extends of digests that are `fills`.
Bytes chain(const HashBank& bank, std::initializer_list<std::uint8_t> fills) {
  Bytes value(bank.size);
  for (const std::uint8_t fill : fills) {
    value.resize(2 * bank.size, std::byte{fill});
    value = hash(bank, value);
  }
  return value;
}

class Measured : public WorkerTest {
 protected:
  Measured() { start_.measurements = {measurement(9, 1), measurement(8, 2), measurement(9, 3)}; }

  Bytes pcr(const Client& client, std::uint8_t index, const HashBank& bank) {
    Parameters p;
    p.u32(1).u16(bank.algorithm).u8(3);
    for (unsigned i = 0; i < 3; i++)
      p.u8(static_cast<std::uint8_t>(index / 8U == i ? 1U << index % 8U : 0));
    const Reply reply = run(client, command(0x17e, {}, 0, p.bytes));
    if (reply.rc != 0 || reply.body.size() < bank.size) return {};
    return {reply.body.end() - static_cast<std::ptrdiff_t>(bank.size), reply.body.end()};
  }
  void expect_measured(const Client& client) {
    for (const HashBank& bank : kHashBanks) {
      EXPECT_EQ(pcr(client, 9, bank), chain(bank, {1, 3})) << bank.name;
      EXPECT_EQ(pcr(client, 8, bank), chain(bank, {2})) << bank.name;
      EXPECT_EQ(pcr(client, 10, bank), Bytes(bank.size)) << bank.name;
    }
  }
};

TEST_F(Measured, EveryBankHoldsItBeforeTheFirstClient) {
  launch();
  ready();
  expect_measured(Client(data_path()));
}

TEST_F(Measured, InReadOnlyModeToo) {
  start_.mode = DeviceMode::read_only;
  start_.checkpoint.permanent.clear();
  launch();
  ready();
  expect_measured(Client(data_path()));
}

TEST_F(Measured, TheNextWorkerDoesNotMeasureAgain) {
  launch();
  ready();
  {
    const Client client(data_path());
    EXPECT_EQ(run(client, extend(16, 1)).rc, 0U);
  }
  kill_worker();
  resume_from(newest());
  launch();
  ready();
  expect_measured(Client(data_path()));
}

// Committed, and dead before it heard so: the store has the one checkpoint, measured once.
TEST_F(Measured, OneThatDiesAsItsPowerOnIsKeptHasMeasuredOnce) {
  launch();
  const auto commit = expect<privsep::Commit>();
  kill_worker();
  stored_ = commit.checkpoint;
  resume_from(commit.checkpoint);
  launch();
  ready();
  expect_measured(Client(data_path()));
}

TEST_F(Measured, AnotherPowerOnMeasuresTheSame) {
  launch();
  ready();
  {
    const Client client(data_path());
    EXPECT_EQ(run(client, extend(9, 7)).rc, 0U);
    const Client control(data_path() + ".ctrl");
    const auto init = from_hex("0000000200000001");  // CMD_INIT, nothing kept
    control.send(*init);
    for (int i = 0; i < 400 && !control.has_reply(0); i++)
      if (readable(manager_.get(), 50)) grant();
  }
  expect_measured(Client(data_path()));
}

TEST_F(Measured, WhereFirmwareMeasuresTheWorkerDoesNot) {
  start_.firmware = false;
  start_.kind = privsep::DeviceKind::vm;
  launch();
  ready();
  const Client client(data_path());
  EXPECT_EQ(run(client, kStartup).rc, 0U);
  EXPECT_EQ(pcr(client, 9, kHashBanks[1]), Bytes(32));
}

}  // namespace
}  // namespace vtpm::worker::testing
