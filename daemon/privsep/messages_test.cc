// SPDX-License-Identifier: Apache-2.0
#include "privsep/messages.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>
#include <random>

#include "privsep/fork_messages.h"

namespace vtpm::privsep {
namespace {

Checkpoint full_checkpoint() {
  Checkpoint c;
  c.boot_id.fill(std::byte{7});
  c.incarnation = 3;
  c.permanent_version = 4;
  c.sequence = 5;
  c.permanent = to_secret(as_bytes("permanent"));
  c.volatile_state = to_secret(as_bytes("volatile"));
  c.reply = to_secret(as_bytes("reply"));
  return c;
}

Start full_start() {
  Start s;
  s.device.bytes.fill(std::byte{9});
  s.name = "web-1";
  s.node = NodeKind::socket;
  s.mode = DeviceMode::read_write;
  s.kind = DeviceKind::open;
  s.linux_hmac = true;
  s.firmware = true;
  s.failed = true;
  s.checkpoint = full_checkpoint();
  s.measurements.resize(2);
  s.measurements[1].pcr = 15;
  s.measurements[1].digests.fill(std::byte{8});
  return s;
}

std::array<std::byte, 32> filled(unsigned char byte) {
  std::array<std::byte, 32> out{};
  out.fill(std::byte{byte});
  return out;
}

std::vector<Message> one_of_each() {
  std::vector<Message> all;
  all.emplace_back(full_start());
  all.emplace_back(Stop{Stop::How::power_off});
  all.emplace_back(Stop{Stop::How::rest});
  all.emplace_back(Committed{0x1122334455667788, 0xfffffffffffffffe});
  all.emplace_back(Refused{"the disk is full"});
  all.emplace_back(Ready{true});
  all.emplace_back(Failed{"no"});
  all.emplace_back(Commit{full_checkpoint()});
  all.emplace_back(Denied{0x131, 7, 3, 0x922, 99, 12});
  all.emplace_back(Stopped{77, true});
  all.emplace_back(Adopt{});
  all.emplace_back(TakeIdentity{to_secret(as_bytes("a new identity"))});
  all.emplace_back(
      Manufacture{IdentityProfile::full, SecretBytes(32, std::byte{1}), filled(2), filled(3)});
  all.emplace_back(Manufacture{IdentityProfile::ecc, SecretBytes(32, std::byte{1}), filled(2),
                               filled(3), SecretBytes(64, std::byte{4}),
                               to_secret(as_bytes("a copy")), true, 7,
                               to_secret(as_bytes("a predecessor")), to_secret(as_bytes("PCRs"))});
  Manufacture from_ahead{IdentityProfile::standard, SecretBytes(32, std::byte{1}), filled(2),
                         filled(3)};
  from_ahead.ahead = to_secret(as_bytes("a state"));
  all.emplace_back(std::move(from_ahead));
  all.emplace_back(MakeAhead{IdentityProfile::full});
  all.emplace_back(MadeKeys{0x49424d00,
                            "SW TPM",
                            0x20191023,
                            0,
                            164,
                            {to_bytes(as_bytes("one key")), to_bytes(as_bytes("another"))}});
  all.emplace_back(Certificates{{to_bytes(as_bytes("certificate"))}, to_bytes(as_bytes("chain"))});
  all.emplace_back(Manufactured{to_secret(as_bytes("permanent"))});
  all.emplace_back(Manufactured{to_secret(as_bytes("permanent")), to_secret(as_bytes("volatile"))});
  all.emplace_back(TellRunning{0x1122334455667788});
  all.emplace_back(Running{0x99, to_secret(as_bytes("PCRs"))});
  all.emplace_back(TellUse{});
  all.emplace_back(Use{0x1122334455667788, true, false});
  all.emplace_back(Use{0, false, true});
  return all;
}

bool same(const Checkpoint& a, const Checkpoint& b) { return encode(a) == encode(b); }

TEST(Messages, EachOneSurvivesItsRoundTrip) {
  for (const Message& message : one_of_each()) {
    const SecretBytes bytes = encode(message);
    const auto back = decode(bytes);
    ASSERT_TRUE(back) << message.index();
    EXPECT_EQ(back->index(), message.index());
    EXPECT_EQ(encode(*back), bytes) << message.index();
  }
}

TEST(Messages, FieldsArriveWhereTheyBelong) {
  const auto back = decode(encode(Message{full_start()}));
  ASSERT_TRUE(back);
  const auto& start = std::get<Start>(*back);
  EXPECT_EQ(start.device, full_start().device);
  EXPECT_EQ(start.name, "web-1");
  EXPECT_EQ(start.node, NodeKind::socket);
  EXPECT_EQ(start.mode, DeviceMode::read_write);
  EXPECT_EQ(start.kind, DeviceKind::open);
  EXPECT_TRUE(same(start.checkpoint, full_checkpoint()));
  ASSERT_EQ(start.measurements.size(), 2U);
  EXPECT_EQ(start.measurements[1].pcr, 15);
  EXPECT_EQ(start.measurements[1].digests, full_start().measurements[1].digests);
  for (int bit = 0; bit < 3; bit++) {  // each flag alone: none stands for another
    Start one;
    one.linux_hmac = bit == 0;
    one.firmware = bit == 1;
    one.failed = bit == 2;
    const auto got = decode(encode(Message{one}));
    ASSERT_TRUE(got);
    EXPECT_EQ(std::get<Start>(*got).linux_hmac, one.linux_hmac);
    EXPECT_EQ(std::get<Start>(*got).firmware, one.firmware);
    EXPECT_EQ(std::get<Start>(*got).failed, one.failed);
  }
  const auto denied = decode(encode(Message{Denied{0x131, 7, 3, 0x922, 99, 12}}));
  ASSERT_TRUE(denied);
  const auto& d = std::get<Denied>(*denied);
  EXPECT_EQ(d.command_code, 0x131U);
  EXPECT_EQ(d.reason, 7);
  EXPECT_EQ(d.locality, 3);
  EXPECT_EQ(d.rc, 0x922U);
  EXPECT_EQ(d.sequence, 99U);
  EXPECT_EQ(d.suppressed, 12U);
}

TEST(Messages, EveryTruncationAndEveryTrailingByteIsRefused) {
  for (const Message& message : one_of_each()) {
    SecretBytes bytes = encode(message);
    for (std::size_t size = 0; size < bytes.size(); size++)
      EXPECT_FALSE(decode(ByteView(bytes).first(size))) << message.index() << " cut to " << size;
    bytes.push_back(std::byte{0});
    EXPECT_FALSE(decode(bytes)) << message.index() << " with a byte more";
  }
}

TEST(Messages, ValuesThatNoSenderMeansAreRefused) {
  Start start = full_start();
  start.name.clear();
  const SecretBytes good = encode(Message{start});
  constexpr std::size_t enums = 2 + 16 + 2;  // type, uuid, length of the name
  const std::array<int, 3> largest{2, 2, 3};
  for (std::size_t i = 0; i < 6; i++)
    for (int value = 0; value < 256; value++) {
      SecretBytes bytes = good;
      bytes[enums + i] = static_cast<std::byte>(value);
      const bool meant = i < 3 ? value >= 1 && value <= largest[i] : value <= 1;
      EXPECT_EQ(decode(bytes).has_value(), meant) << "field " << i << " value " << value;
    }
  for (int value = 0; value < 256; value++) {
    SecretBytes stop = encode(Message{Stop{}});
    stop.back() = static_cast<std::byte>(value);
    EXPECT_EQ(decode(stop).has_value(), value >= 1 && value <= 3) << value;
    SecretBytes ready = encode(Message{Ready{}});
    ready.back() = static_cast<std::byte>(value);
    EXPECT_EQ(decode(ready).has_value(), value <= 1) << value;
  }
  for (unsigned type = 0; type < 300; type++) {
    Bytes only_type;
    Writer(only_type).u16(static_cast<std::uint16_t>(type));
    EXPECT_EQ(decode(only_type).has_value(), type == 10 || type == 18) << type;  // Adopt
    EXPECT_EQ(decode_fork(only_type).has_value(), type == 25 || type == 27) << type;
  }
}

TEST(Messages, AnIdentityHasFewKeysAndSmallCertificates) {
  const auto fits = [](const std::vector<Bytes>& items) {
    return decode(encode(Message{Certificates{items, {}}})).has_value();
  };
  EXPECT_TRUE(fits(std::vector<Bytes>(kMaxCertifiedKeys, Bytes(kMaxCertificate))));
  EXPECT_FALSE(fits(std::vector<Bytes>(kMaxCertifiedKeys + 1, Bytes(10))));
  EXPECT_FALSE(fits({Bytes(kMaxCertificate + 1)}));
  EXPECT_FALSE(fits({Bytes()}));
  EXPECT_FALSE(decode(encode(Message{Manufactured{}}))) << "no state at all";
  EXPECT_FALSE(decode(encode(Message{TakeIdentity{SecretBytes(kMaxPermanentState + 1)}})));
  EXPECT_FALSE(decode(encode(Message{Running{1, SecretBytes(kMaxVolatileState + 1)}})));
}

TEST(Messages, WhatARollbackAddsIsLimited) {
  const auto refused = [](std::uint32_t steps, std::size_t predecessor) {
    Manufacture m{IdentityProfile::ecc, SecretBytes(32), {}, {}};
    m.steps = steps;
    m.predecessor = SecretBytes(predecessor);
    return !decode(encode(Message{m}));
  };
  EXPECT_FALSE(refused(kMaxSteps, kMaxPredecessor));
  EXPECT_TRUE(refused(0, 0));
  EXPECT_TRUE(refused(kMaxSteps + 1, 0));
  EXPECT_TRUE(refused(1, kMaxPredecessor + 1));
  Manufacture largest{IdentityProfile::ecc, SecretBytes(32), {}, {}};
  largest.copy = SecretBytes(kMaxPermanentState);
  largest.predecessor = SecretBytes(kMaxPredecessor);
  largest.running = SecretBytes(kMaxVolatileState);
  EXPECT_LE(encode(Message{largest}).size(), kMaxMessage);
}

TEST(Messages, AnIdentityIsOfACopyOrOfWhatWasMadeAhead) {
  Manufacture m{IdentityProfile::standard, SecretBytes(32), {}, {}};
  m.ahead = SecretBytes(kMaxPermanentState);
  EXPECT_TRUE(decode(encode(Message{m})));
  m.copy = SecretBytes(10);
  EXPECT_FALSE(decode(encode(Message{m})));
  m.copy.clear();
  m.ahead.resize(kMaxPermanentState + 1);
  EXPECT_FALSE(decode(encode(Message{m})));
  EXPECT_FALSE(decode(encode(Message{MakeAhead{static_cast<IdentityProfile>(4)}})));
}

TEST(Messages, MeasurementsAreLimited) {
  Start start = full_start();
  start.measurements.assign(kMaxEvents, {});
  EXPECT_TRUE(decode(encode(Message{start})));
  start.measurements.assign(kMaxEvents + 1, {});
  EXPECT_FALSE(decode(encode(Message{start})));
  start.measurements.assign(1, {});
  start.measurements[0].pcr = kMeasurablePcrs;
  EXPECT_FALSE(decode(encode(Message{start})));
}

TEST(Messages, MessagesOfTheForkServerAreNoMessagesOfAWorker) {
  Uuid device;
  device.bytes.fill(std::byte{9});
  for (const ForkMessage& message :
       {ForkMessage{ForkRequest{7, device, 3}}, ForkMessage{Forked{7, 1234, -1}},
        ForkMessage{Died{-5, 139}}, ForkMessage{Welcome{3, 42, 7, "0.1"}}, ForkMessage{Busy{77}},
        ForkMessage{End{}}, ForkMessage{Inherited{5, device, 9, true, 139}},
        ForkMessage{OpenControl{}}, ForkMessage{Control{2}}, ForkMessage{Kill{12}}}) {
    SecretBytes bytes = encode(message);
    EXPECT_FALSE(decode(bytes));
    const auto back = decode_fork(bytes);
    ASSERT_TRUE(back);
    EXPECT_EQ(back->index(), message.index());
    EXPECT_EQ(encode(*back), bytes);
    for (std::size_t size = 0; size < bytes.size(); size++)
      EXPECT_FALSE(decode_fork(ByteView(bytes).first(size)));
    bytes.push_back(std::byte{0});
    EXPECT_FALSE(decode_fork(bytes));
  }
  for (const Message& message : one_of_each()) EXPECT_FALSE(decode_fork(encode(message)));
}

// What a manager and a server of any two versions must understand of each other.
TEST(Messages, TheFirstWordsBetweenVersionsNeverChange) {
  EXPECT_EQ(to_hex(encode(ForkMessage{Welcome{3, 42, 7, "0.1"}})),
            "0017"
            "00000003"
            "0000002a"
            "00000007"
            "0003302e31");
  EXPECT_EQ(to_hex(encode(ForkMessage{Busy{77}})), "00180000004d");
  EXPECT_EQ(to_hex(encode(ForkMessage{End{}})), "0019");
  EXPECT_FALSE(decode_fork(encode(ForkMessage{Inherited{0, {}, 1, false, 0}})))
      << "no such process";
}

TEST(Messages, RandomBytesAreReadWithoutHarm) {
  std::mt19937 random(20240607);  // NOLINT: the same bytes at each run
  const auto all = one_of_each();
  int accepted = 0;
  for (int i = 0; i < 10'000; i++) {
    Bytes bytes;
    if (i % 2 == 0) {  // noise behind a type that exists
      bytes.resize(2 + random() % 120);
      for (auto& b : bytes) b = static_cast<std::byte>(random());
      store_be16(bytes.data(), static_cast<std::uint16_t>(random() % 24));
    } else {  // a message with a few bytes changed
      bytes = to_bytes(encode(all[random() % all.size()]));
      for (unsigned n = 1 + random() % 4; n > 0; n--)
        bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    if (const auto message = decode(bytes)) {
      accepted++;
      EXPECT_EQ(decode(encode(*message)).has_value(), true);
    }
    (void)decode_fork(bytes);
  }
  EXPECT_GT(accepted, 0);  // the noise reaches the fields
}

TEST(Messages, TextOfAnotherProcessIsCutAndPrintable) {
  const auto long_text = decode(encode(Message{Failed{std::string(100'000, 'x')}}));
  ASSERT_TRUE(long_text);
  EXPECT_EQ(std::get<Failed>(*long_text).reason, std::string(512, 'x'));
  // It ends up in logs, in the store and in the API's UTF-8 strings.
  const auto hostile = decode(encode(Message{Failed{std::string("a\n\x1b[31m\xff\0b", 10)}}));
  ASSERT_TRUE(hostile);
  EXPECT_EQ(std::get<Failed>(*hostile).reason, "a??[31m??b");
}

TEST(Messages, OnlyDeathsByTheWorkersOwnFaultAreCrashes) {
  for (int status = 0; status < 256; status++) EXPECT_FALSE(is_crash(status << 8)) << status;
  for (int signal = 1; signal < 32; signal++) {
    const bool own = signal == SIGSEGV || signal == SIGBUS || signal == SIGILL ||
                     signal == SIGFPE || signal == SIGABRT || signal == SIGSYS;
    EXPECT_EQ(is_crash(signal), own) << signal;
    EXPECT_EQ(is_crash(signal | 0x80), own) << signal << " with a core";
    EXPECT_FALSE(is_crash(signal << 8 | 0x7f)) << signal << ": stopped, not dead";
  }
}

}  // namespace
}  // namespace vtpm::privsep
