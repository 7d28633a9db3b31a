// SPDX-License-Identifier: Apache-2.0
// Whole workers: what leaves them, what they keep first, and how they end.
#include "worker/worker.h"

#include <gtest/gtest.h>

#include "privsep/sandbox.h"
#include "worker/test_worker.h"

namespace vtpm::worker::testing {
namespace {

using privsep::Commit;
using privsep::Committed;
using privsep::DeviceKind;
using privsep::DeviceMode;
using privsep::Failed;
using privsep::Ready;
using privsep::Refused;
using privsep::Running;
using privsep::Stop;
using privsep::Stopped;
using privsep::TellRunning;

constexpr std::uint32_t kRcInitialize = 0x100, kRcReadOnly = 0x156, kRcHierarchy = 0x185;

// A state to resume from may be forged, with a hash that is right; libtpms must not read it with
// all system calls. An engine that nobody has warmed up forks a child for the blank state, which
// the filter does not let it do. (gtest runs suites of this name first: no other test has warmed it
// up.)
using WorkerDeathTest = WorkerTest;

TEST_F(WorkerDeathTest, TheEngineStartsWithinTheSandbox) {
  warm_ = false;
  start_.mode = DeviceMode::read_only;
  start_.checkpoint.permanent.clear();
  launch();
  if (privsep::kSanitized) {
    expect<Ready>();
    return;
  }
  const int status = this->status();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) << status;
}

TEST_F(WorkerTest, AFreshDeviceIsReadyOnlyAfterItsIdentityIsKept) {
  launch();
  const auto commit = expect<Commit>();
  EXPECT_EQ(commit.checkpoint.permanent_version, 1U);
  EXPECT_EQ(commit.checkpoint.incarnation, 1U);
  EXPECT_EQ(commit.checkpoint.boot_id, start_.checkpoint.boot_id);
  EXPECT_FALSE(commit.checkpoint.permanent.empty());
  EXPECT_FALSE(commit.checkpoint.volatile_state.empty());
  EXPECT_FALSE(readable(manager_.get(), 200)) << "ready before its state was durable";
  tell(Committed{commit.checkpoint.sequence, 1});
  EXPECT_TRUE(expect<Ready>().startup_done);
  const Client client(data_path());
  EXPECT_EQ(client.run(kStartup).rc, kRcInitialize) << "firmware has started it already";
  EXPECT_EQ(client.run(extend(0, 1)).rc, 0U);
}

TEST_F(WorkerTest, AReadOnlyDeviceAsksTheStoreForNothing) {
  start_.mode = DeviceMode::read_only;
  start_.checkpoint.permanent.clear();
  launch();
  expect<Ready>();
  const Client client(data_path());
  EXPECT_EQ(client.run(extend(3, 1)).rc, 0U);
  const Checkpoint kept = newest();
  EXPECT_FALSE(kept.permanent.empty());
  EXPECT_FALSE(kept.volatile_state.empty());
  EXPECT_FALSE(kept.reply.empty());
  EXPECT_EQ(client.run(define_space(0x01000001)).rc, kRcReadOnly);
  expect<privsep::Denied>();
  EXPECT_FALSE(readable(manager_.get(), 100));
}

TEST_F(WorkerTest, NoReplyLeavesBeforeItsEffectIsDurable) {
  launch();
  ready();
  const Client client(data_path());
  client.send(define_space(0x01000001));
  const auto commit = expect<Commit>();
  EXPECT_EQ(commit.checkpoint.permanent_version, stored_.permanent_version + 1);
  EXPECT_FALSE(client.has_reply(300));
  tell(Committed{commit.checkpoint.sequence, commit.checkpoint.permanent_version});
  EXPECT_EQ(client.reply().rc, 0U);
  ASSERT_GE(commit.checkpoint.reply.size(), 10U);
  EXPECT_EQ(load_be32(commit.checkpoint.reply.data() + 6), 0U);
}

TEST_F(WorkerTest, ARefusedCommitEndsTheWorkerWithoutAReply) {
  launch();
  ready();
  const Client client(data_path());
  client.send(define_space(0x01000001));
  expect<Commit>();
  tell(Refused{"the disk is full"});
  EXPECT_NE(expect<Failed>().reason.find("the disk is full"), std::string::npos);
  EXPECT_EQ(client.reply().rc, 0xffffffffU);
  const int ended = status();
  EXPECT_TRUE(WIFEXITED(ended) && WEXITSTATUS(ended) != 0);
}

TEST_F(WorkerTest, AnAnswerToAnotherCommitIsNoLeaveToReply) {
  launch();
  ready();
  const Client client(data_path());
  client.send(define_space(0x01000001));
  const auto commit = expect<Commit>();
  tell(Committed{commit.checkpoint.sequence, commit.checkpoint.permanent_version + 1});
  expect<Failed>();
  EXPECT_EQ(client.reply().rc, 0xffffffffU);
}

TEST_F(WorkerTest, ReplyThatAStopOvertookStillLeavesAndTheWorkerEndsAtOnce) {
  launch();
  ready();
  const Client client(data_path());
  client.send(define_space(0x01000001));
  const auto commit = expect<Commit>();
  tell(Stop{Stop::How::park});
  tell(Committed{commit.checkpoint.sequence, commit.checkpoint.permanent_version});
  expect<Stopped>();
  EXPECT_EQ(client.reply().rc, 0U);
  const int ended = status();  // fails after 15 s
  EXPECT_TRUE(WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
}

TEST_F(WorkerTest, ParkedAndResumedItGoesOnWhereItWas) {
  launch();
  ready();
  Bytes before;
  {
    const Client client(data_path());
    EXPECT_EQ(client.run(extend(7, 0x42)).rc, 0U);
    before = digest_of(run(client, read_pcr(7)));
    ASSERT_EQ(before.size(), 32U);
  }
  tell(Stop{Stop::How::park});
  const auto stopped = expect<Stopped>();
  EXPECT_FALSE(stopped.asked_by_host);
  EXPECT_EQ(status(), 0);
  const Checkpoint kept = newest();
  EXPECT_EQ(kept.sequence, stopped.sequence);
  EXPECT_TRUE(kept.permanent.empty()) << "the store has it";
  EXPECT_EQ(kept.permanent_version, stored_.permanent_version);

  resume_from(kept);
  launch();
  EXPECT_FALSE(expect<Ready>().startup_done) << "a resumed TPM was not started again";
  const Client client(data_path());
  EXPECT_EQ(digest_of(run(client, read_pcr(7))), before);
}

TEST_F(WorkerTest, TellsWhatACopyOfItTakesAlong) {
  launch();
  ready();
  const Client client(data_path());
  EXPECT_EQ(client.run(extend(7, 0x42)).rc, 0U);
  tell(TellRunning{1});
  const SecretBytes part = expect<Running>().part;
  EXPECT_EQ(client.run(extend(7, 0x42)).rc, 0U) << "it goes on";
  tell(TellRunning{2});
  const SecretBytes later = expect<Running>().part;
  EXPECT_EQ(later.size(), part.size());
  EXPECT_NE(later, part);
  // Asked while a commit is open, it tells what the store has when the answer arrives.
  client.send(define_space(0x01000001));
  const auto commit = expect<Commit>();
  tell(TellRunning{3});
  tell(Committed{commit.checkpoint.sequence, commit.checkpoint.permanent_version});
  const auto running = expect<Running>();
  EXPECT_EQ(running.ticket, 3U);
  EXPECT_EQ(running.part, later);
  EXPECT_EQ(client.reply().rc, 0U);
}

TEST_F(WorkerTest, TwoResumesOfOneCheckpointDrawDifferentRandomNumbers) {
  launch();
  ready();
  kill_worker();
  resume_from(newest());
  std::vector<Bytes> drawn;
  for (int i = 0; i < 2; i++) {
    launch();
    ready();
    drawn.push_back(run(Client(data_path()), kGetRandom).body);
    EXPECT_EQ(drawn.back().size(), 34U);
    kill_worker();
  }
  EXPECT_NE(drawn[0], drawn[1]);
}

TEST_F(WorkerTest, AKilledWorkerLosesNothingItHadAnswered) {
  launch();
  ready();
  Bytes before;
  {
    const Client client(data_path());
    for (std::uint8_t i = 1; i <= 20; i++) ASSERT_EQ(client.run(extend(8, i)).rc, 0U);
    before = digest_of(run(client, read_pcr(8)));
    ASSERT_EQ(before.size(), 32U);
  }
  kill_worker();
  resume_from(newest());
  launch();
  ready();
  EXPECT_EQ(digest_of(run(Client(data_path()), read_pcr(8))), before);
}

// Extends that a worker wrote down as they came are done again by the next one, at their locality,
// which then takes the state that they have led to; and the one after that goes on from there.
TEST_F(WorkerTest, CommandsSinceTheLastCheckpointAreDoneAgain) {
  start_.mode = DeviceMode::read_only;
  start_.checkpoint.permanent.clear();
  const Bytes event = command(0x13c, {9}, 1, Parameters().sized(Bytes(700, std::byte{1})).bytes);
  const Bytes reset = command(0x13d, {16}, 1);
  launch();
  ready();
  for (int life = 0; life < 4; ++life) {
    std::vector<Bytes> before;
    {
      const Client client(data_path());
      for (std::uint8_t i = 1; i <= 9; i++) {
        ASSERT_EQ(client.run(extend(16, i)).rc, 0U);
        ASSERT_EQ(client.run(i % 3 == 0 ? reset : event).rc, 0U);
      }
      for (const std::uint8_t pcr : {9, 16}) before.push_back(digest_of(client.run(read_pcr(pcr))));
    }
    kill_worker();
    const Checkpoint kept = newest();
    EXPECT_FALSE(kept.redo.empty());
    resume_from(kept);
    launch();
    EXPECT_FALSE(expect<Ready>().startup_done);
    EXPECT_TRUE(newest().redo.empty());
    EXPECT_EQ(newest().sequence, kept.sequence);
    EXPECT_EQ(newest().reply, kept.reply);
    const Client client(data_path());
    EXPECT_EQ(digest_of(client.run(read_pcr(9))), before[0]);
    EXPECT_EQ(digest_of(client.run(read_pcr(16))), before[1]);
  }
}

// As the kernel's resource manager does it around each command: the session is loaded, and flushed.
TEST_F(WorkerTest, ContextsThatWereSavedLoadedAndFlushedAreSoAgain) {
  start_.mode = DeviceMode::read_only;
  start_.checkpoint.permanent.clear();
  launch();
  ready();
  const auto is_loaded = [](const Client& client, std::uint32_t session) {
    const Bytes digest = command(0x189, {session}, 0);  // PolicyGetDigest
    return client.run(digest).rc == 0;
  };
  const Bytes nonce(16, std::byte{0x11});
  const Bytes start = command(0x176, {engine::testing::kNull, engine::testing::kNull}, 0,
                              Parameters().sized(nonce).u16(0).u8(1).u16(0x10).u16(0x0b).bytes);
  std::uint32_t kept = 0;
  std::uint32_t flushed = 0;
  std::uint32_t away = 0;
  Bytes context;  // of the one that is away when the worker dies
  {
    const Client client(data_path());
    for (std::uint32_t* session : {&kept, &flushed, &away})
      *session = load_be32(client.run(start).body.data());
    const Bytes saved = client.run(command(0x162, {kept}, 0)).body;
    ASSERT_EQ(client.run(command(0x161, {}, 0, saved)).rc, 0U);
    ASSERT_EQ(client.run(command(0x165, {}, 0, Parameters().u32(flushed).bytes)).rc, 0U);
    context = client.run(command(0x162, {away}, 0)).body;
  }
  kill_worker();
  ASSERT_EQ(newest().redo.size(), 4U);
  resume_from(newest());
  launch();
  ready();
  const Client client(data_path());
  EXPECT_TRUE(is_loaded(client, kept));
  EXPECT_FALSE(is_loaded(client, flushed));
  EXPECT_FALSE(is_loaded(client, away));
  EXPECT_EQ(client.run(command(0x161, {}, 0, context)).rc, 0U);
  EXPECT_TRUE(is_loaded(client, away));
}

TEST_F(WorkerTest, AForgedCommandToBeDoneAgainEndsTheWorker) {
  start_.mode = DeviceMode::read_only;
  start_.checkpoint.permanent.clear();
  launch();
  ready();
  ASSERT_EQ(Client(data_path()).run(extend(16, 1)).rc, 0U);
  kill_worker();
  const Checkpoint good = newest();
  ASSERT_EQ(good.redo.size(), 1U);
  const auto fails = [&](const Redo& redo) {
    resume_from(good);
    start_.checkpoint.redo = {redo};
    launch();
    const std::string why = expect<Failed>().reason;
    EXPECT_NE(status(), 0);
    return why;
  };
  const auto secret = [](const Bytes& bytes) { return to_secret(bytes); };
  const SecretBytes reply = good.redo[0].reply;
  for (const Bytes& forged :
       {define_space(0x01000001), kGetRandom, kClearControl, Bytes{}, Bytes(10, std::byte{0xff})})
    EXPECT_EQ(fails({0, secret(forged), reply}),
              "the journal has a command that is not replayable");
  for (const Redo& lie :
       {Redo{0, good.redo[0].command, secret(kGetRandom)}, Redo{0, secret(extend(23, 1)), {}},
        Redo{0, secret(extend(17, 1)), reply}})
    EXPECT_EQ(fails(lie), "a command of the journal does not do again what it did");
}

TEST_F(WorkerTest, PowerOffCommitsThePermanentStateAndDropsTheVolatileOne) {
  launch();
  ready();
  tell(Stop{Stop::How::power_off});
  const Checkpoint last = grant();
  EXPECT_FALSE(last.permanent.empty());
  EXPECT_TRUE(last.volatile_state.empty());
  EXPECT_TRUE(last.reply.empty());
  expect<Stopped>();
  EXPECT_EQ(status(), 0);
}

TEST_F(WorkerTest, EndsWhenTheManagerIsGone) {
  launch();
  ready();
  manager_.reset();
  EXPECT_EQ(status(), 0);
}

TEST_F(WorkerTest, EndsWhenTheManagerIsGoneWhileACommitIsOpen) {
  launch();
  ready();
  const Client client(data_path());
  client.send(define_space(0x01000001));
  expect<Commit>();
  manager_.reset();
  EXPECT_EQ(client.reply().rc, 0xffffffffU);
  EXPECT_NE(status(), 0);
}

TEST_F(WorkerTest, AReadWriteDeviceWithoutStateIsNeverBlank) {
  start_.checkpoint.permanent.clear();
  launch();
  expect<Failed>();
  EXPECT_NE(status(), 0);
}

TEST_F(WorkerTest, AReadOnlyDeviceNeverRunsAnIdentity) {
  start_.mode = DeviceMode::read_only;
  launch();
  expect<Failed>();
  EXPECT_NE(status(), 0);
}

TEST_F(WorkerTest, AStateThatIsNoneFailsInsteadOfStartingAnew) {
  start_.checkpoint.permanent = to_secret(as_bytes("not a state of libtpms"));
  launch();
  expect<Failed>();
  EXPECT_NE(status(), 0);
}

TEST_F(WorkerTest, AStartWithADescriptorTooFewFails) {
  launch(false);
  expect<Failed>();
  EXPECT_NE(status(), 0);
}

TEST_F(WorkerTest, AMessageThatIsNoOrderEndsIt) {
  launch();
  ready();
  tell(Ready{});
  expect<Failed>();
  EXPECT_NE(status(), 0);
}

TEST_F(WorkerTest, ThePlatformHierarchyIsClosedForAContainer) {
  launch();
  ready();
  const Client client(data_path());
  EXPECT_EQ(run(client, kClearControl).rc & 0xff, kRcHierarchy & 0xff);
  // Nobody opens it by an orderly cycle of their own either.
  EXPECT_EQ(run(client, command(0x145, {}, 0, Parameters().u16(0).bytes)).rc, 0U);
  EXPECT_EQ(run(client, kStartup).rc, kRcInitialize);
}

TEST_F(WorkerTest, ThePlatformHierarchyIsOpenForADeviceOfKindOpen) {
  start_.kind = DeviceKind::open;
  start_.firmware = false;
  launch();
  ready();
  const Client client(data_path());
  EXPECT_EQ(run(client, read_pcr(0)).rc, kRcInitialize) << "its firmware sends Startup";
  EXPECT_EQ(run(client, kStartup).rc, 0U);
  EXPECT_EQ(run(client, kClearControl).rc, 0U);
}

TEST_F(WorkerTest, AFloodOfRefusalsIsReportedInPartAndCountedInFull) {
  start_.mode = DeviceMode::read_only;
  start_.checkpoint.permanent.clear();
  launch();
  ready();
  const Client client(data_path());
  constexpr std::uint32_t flood = 200;
  for (std::uint32_t i = 0; i < flood; i++)
    ASSERT_EQ(client.run(define_space(0x01000001)).rc, kRcReadOnly);
  std::uint32_t reports = 0;
  std::uint32_t counted = 0;
  const auto read_all = [&] {
    while (readable(manager_.get(), 0)) {
      const auto denied = expect<privsep::Denied>();
      EXPECT_EQ(denied.command_code, 0x12aU);
      EXPECT_EQ(denied.rc, kRcReadOnly);
      reports++;
      counted += 1 + denied.suppressed;
    }
  };
  read_all();
  EXPECT_GE(reports, 20U);
  EXPECT_LE(reports, 40U);
  ::usleep(1'100'000);  // one token later the rest is told
  ASSERT_EQ(client.run(define_space(0x01000001)).rc, kRcReadOnly);
  read_all();
  EXPECT_EQ(counted, flood + 1);
}

}  // namespace
}  // namespace vtpm::worker::testing
