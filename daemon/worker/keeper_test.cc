// SPDX-License-Identifier: Apache-2.0
#include "worker/keeper.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>

#include "base/temporary_folder.h"

namespace vtpm::worker {
namespace {

using policy::Effect;
using policy::Mode;
using privsep::Commit;
using privsep::Committed;
using privsep::Stop;

class FakeEngine final : public engine::Engine {
 public:
  Result<ByteView> process(ByteView, std::uint8_t) override {
    return fail(ErrorCode::internal, "a keeper executes nothing");
  }
  bool take_permanent_changed() override { return std::exchange(changed, false); }
  Result<SecretBytes> permanent() override {
    if (broken) return fail(ErrorCode::internal, "broken");
    return to_secret(as_bytes(permanent_text));
  }
  Result<void> read_volatile_state(SecretBytes& out) override {
    if (broken) return fail(ErrorCode::internal, "broken");
    assign(out, as_bytes(volatile_text));
    return {};
  }
  Result<bool> is_audited(ByteView state) override {
    return audits || as_text(state) == "exclusive";
  }
  Result<void> power_cycle() override { return {}; }
  Result<void> startup_clear() override { return {}; }
  Result<void> shutdown_clear() override { return {}; }
  Result<void> take_identity(ByteView, engine::Platform) override { return {}; }
  Result<bool> established() override { return false; }
  Result<void> reset_established(std::uint8_t) override { return {}; }

  bool changed = false;
  bool broken = false;
  bool audits = false;
  std::string permanent_text = "P";
  std::string volatile_text = "V";
};

class KeeperTest : public ::testing::Test {
 protected:
  KeeperTest() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
    ours_.reset(ends[0]);
    manager_.reset(ends[1]);
    auto folder = journal::Folder::open(folder_.path(), true);
    EXPECT_TRUE(folder);
    journals_.emplace(*std::move(folder));
    last_.incarnation = 2;
    last_.permanent_version = 10;
    last_.sequence = 30;
    last_.permanent = to_secret(as_bytes("P0"));
    last_.volatile_state = to_secret(as_bytes("V0"));
    last_.reply = to_secret(as_bytes("reply 30"));
    device_.bytes.fill(std::byte{4});
  }
  Keeper make(Mode mode) {
    auto file = journals_->create(
        {.device = device_, .boot_id = {}, .power_id = {}, .incarnation = 2}, &last_);
    EXPECT_TRUE(file);
    auto journal = journal::Journal::map(*std::move(file));
    EXPECT_TRUE(journal);
    return {ours_.get(), *std::move(journal), engine_, mode, last_};
  }
  Checkpoint in_journal() {
    auto found = journals_->read(device_);
    EXPECT_TRUE(found && *found && (*found)->newest);
    return found && *found && (*found)->newest ? *(*found)->newest : Checkpoint{};
  }
  void tell(const privsep::Message& message) {
    EXPECT_TRUE(privsep::send_datagram(manager_.get(), encode(message)));
  }
  std::optional<Checkpoint> asked() {
    auto got = privsep::receive_datagram(manager_.get(), true);
    if (!got || got->bytes.empty()) return std::nullopt;
    auto message = privsep::decode(got->bytes);
    EXPECT_TRUE(message && std::holds_alternative<Commit>(*message));
    return std::get<Commit>(*message).checkpoint;
  }
  static channel::Frame command(std::uint64_t sequence) {
    return {.sequence = sequence, .locality = 2, .bytes = as_bytes("command")};
  }
  static ByteView reply(std::string_view text) { return as_bytes(text); }

  TemporaryFolder folder_;
  std::optional<journal::Folder> journals_;
  UniqueFd ours_;
  UniqueFd manager_;
  Uuid device_;
  Checkpoint last_;
  FakeEngine engine_;
};

TEST_F(KeeperTest, AnswersTheSequenceThatItsCheckpointHoldsAndNoOther) {
  const Keeper keeper = make(Mode::read_write);
  ASSERT_TRUE(keeper.reply_of(30));
  EXPECT_EQ(as_text(*keeper.reply_of(30)), "reply 30");
  for (const std::uint64_t other :
       {std::uint64_t{0}, std::uint64_t{29}, std::uint64_t{31}, ~std::uint64_t{0}})
    EXPECT_FALSE(keeper.reply_of(other)) << other;
}

TEST_F(KeeperTest, ACheckpointWithoutAReplyAnswersNothing) {
  last_.sequence = 0;
  last_.reply.clear();
  EXPECT_FALSE(make(Mode::read_write).reply_of(0));
}

TEST_F(KeeperTest, KeepsNothingOfACommandWithoutEffect) {
  Keeper keeper = make(Mode::read_write);
  ASSERT_TRUE(keeper.keep(command(31), reply("r31"), Effect::none));
  EXPECT_EQ(in_journal().sequence, 30U);
  EXPECT_EQ(keeper.last_sequence(), 30U);
  EXPECT_FALSE(keeper.reply_of(31));
  EXPECT_FALSE(asked());
}

TEST_F(KeeperTest, KeepsWhatAnAuditCountsOfACommandWithoutEffect) {
  engine_.audits = true;
  Keeper keeper = make(Mode::read_write);
  ASSERT_TRUE(keeper.keep(command(31), reply("r31"), Effect::none));
  EXPECT_EQ(in_journal().sequence, 31U);
  engine_.audits = false;  // known from the next state on
  ASSERT_TRUE(keeper.keep(command(32), reply("r32"), Effect::none));
  EXPECT_EQ(in_journal().sequence, 32U);
  ASSERT_TRUE(keeper.keep(command(33), reply("r33"), Effect::none));
  EXPECT_EQ(in_journal().sequence, 32U);
}

TEST_F(KeeperTest, KeepsOnceThatAnAuditSessionIsNoLongerExclusive) {
  Keeper keeper = make(Mode::read_write);
  engine_.volatile_text = "exclusive";
  ASSERT_TRUE(keeper.keep(command(31), reply("r31"), Effect::volatile_state));
  engine_.volatile_text = "V";
  ASSERT_TRUE(keeper.keep(command(32), reply("r32"), Effect::none));
  EXPECT_EQ(in_journal().sequence, 32U);
  EXPECT_EQ(as_text(in_journal().volatile_state), "V");
  ASSERT_TRUE(keeper.keep(command(33), reply("r33"), Effect::none));
  EXPECT_EQ(in_journal().sequence, 32U);
  // The next worker knows it from what it goes on from.
  last_.volatile_state = to_secret(as_bytes("exclusive"));
  Keeper next = make(Mode::read_write);
  ASSERT_TRUE(next.keep(command(41), reply("r41"), Effect::none));
  EXPECT_EQ(in_journal().sequence, 41U);
}

TEST_F(KeeperTest, AVolatileEffectGoesToTheJournalWithoutThePermanentState) {
  Keeper keeper = make(Mode::read_write);
  ASSERT_TRUE(keeper.keep(command(31), reply("r31"), Effect::volatile_state));
  const Checkpoint kept = in_journal();
  EXPECT_EQ(kept.sequence, 31U);
  EXPECT_EQ(kept.permanent_version, 10U);
  EXPECT_TRUE(kept.permanent.empty());
  EXPECT_EQ(as_text(kept.volatile_state), "V");
  EXPECT_EQ(as_text(kept.reply), "r31");
  EXPECT_FALSE(asked());
  EXPECT_EQ(as_text(*keeper.reply_of(31)), "r31");
}

TEST_F(KeeperTest, APermanentEffectGoesToTheStoreWhateverThePolicyThought) {
  Keeper keeper = make(Mode::read_write);
  engine_.changed = true;
  tell(Committed{31, 11});
  ASSERT_TRUE(keeper.keep(command(31), reply("r31"), Effect::none));
  const auto commit = asked();
  ASSERT_TRUE(commit);
  EXPECT_EQ(commit->sequence, 31U);
  EXPECT_EQ(commit->permanent_version, 11U);
  EXPECT_EQ(commit->incarnation, 2U);
  EXPECT_EQ(as_text(commit->permanent), "P");
  EXPECT_EQ(as_text(commit->volatile_state), "V");
  EXPECT_EQ(in_journal().sequence, 30U);
  // What comes next builds on the new version, and carries no copy of the permanent state.
  ASSERT_TRUE(keeper.keep(command(32), reply("r32"), Effect::volatile_state));
  EXPECT_EQ(in_journal().permanent_version, 11U);
  EXPECT_TRUE(in_journal().permanent.empty());
}

TEST_F(KeeperTest, AReadOnlyDeviceKeepsBothPartsInTheJournalAlways) {
  Keeper keeper = make(Mode::read_only);
  ASSERT_TRUE(keeper.keep(command(31), reply("r"), Effect::volatile_state));
  EXPECT_EQ(as_text(in_journal().permanent), "P0") << "unchanged: as it was given";
  engine_.changed = true;
  engine_.permanent_text = "P2";
  ASSERT_TRUE(keeper.keep(command(32), reply("r"), Effect::none));
  EXPECT_EQ(as_text(in_journal().permanent), "P2");
  EXPECT_EQ(in_journal().sequence, 32U);
  ASSERT_TRUE(keeper.keep_powered_off());
  EXPECT_TRUE(in_journal().volatile_state.empty());
  EXPECT_FALSE(asked());
}

TEST_F(KeeperTest, AReplayableCommandIsAddedToTheLastCheckpointInTheJournal) {
  Keeper keeper = make(Mode::read_write);
  ASSERT_TRUE(keeper.keep(command(31), reply("r31"), Effect::replayable));
  EXPECT_TRUE(in_journal().redo.empty()) << "there was no checkpoint of this worker's";
  engine_.volatile_text = "later";
  ASSERT_TRUE(keeper.keep(command(32), reply("r32"), Effect::replayable));
  ASSERT_TRUE(keeper.keep(command(33), reply("r33"), Effect::none));
  ASSERT_TRUE(keeper.keep(command(34), reply("r34"), Effect::replayable));
  const Checkpoint kept = in_journal();
  EXPECT_EQ(as_text(kept.volatile_state), "V");
  EXPECT_EQ(kept.sequence, 34U);
  ASSERT_EQ(kept.redo.size(), 2U);
  EXPECT_EQ(as_text(kept.redo[0].command), "command");
  EXPECT_EQ(kept.redo[0].locality, 2U);
  EXPECT_EQ(as_text(kept.redo[0].reply), "r32");
  EXPECT_EQ(as_text(*keeper.reply_of(34)), "r34");
  EXPECT_EQ(keeper.last_sequence(), 34U);
  // Anything that is not replayable takes the state that all of them have led to.
  ASSERT_TRUE(keeper.keep(command(35), reply("r35"), Effect::volatile_state));
  EXPECT_TRUE(in_journal().redo.empty());
  EXPECT_EQ(as_text(in_journal().volatile_state), "later");
}

// The journal's checkpoint is older than the store's: nothing may be built upon it.
TEST_F(KeeperTest, AReplayableCommandBehindACommitToTheStoreIsACheckpoint) {
  Keeper keeper = make(Mode::read_write);
  ASSERT_TRUE(keeper.keep(command(31), reply("r31"), Effect::volatile_state));
  engine_.changed = true;
  tell(Committed{32, 11});
  ASSERT_TRUE(keeper.keep(command(32), reply("r32"), Effect::replayable));
  EXPECT_TRUE(asked());
  ASSERT_TRUE(keeper.keep(command(33), reply("r33"), Effect::replayable));
  EXPECT_TRUE(in_journal().redo.empty());
  EXPECT_EQ(in_journal().sequence, 33U);
  EXPECT_EQ(in_journal().permanent_version, 11U);
}

TEST_F(KeeperTest, WhenTheJournalHasNoRoomForACommandItGetsACheckpoint) {
  Keeper keeper = make(Mode::read_only);
  for (std::uint64_t sequence = 31; sequence < 400; ++sequence) {
    ASSERT_TRUE(keeper.keep(command(sequence), reply("r"), Effect::replayable));
    EXPECT_EQ(in_journal().sequence, sequence);
  }
}

TEST_F(KeeperTest, AStopThatComesWhileACommitIsOpenWaits) {
  Keeper keeper = make(Mode::read_write);
  engine_.changed = true;
  tell(Stop{Stop::How::power_off});
  tell(Committed{31, 11});
  ASSERT_TRUE(keeper.keep(command(31), reply("r31"), Effect::none));
  const auto first = keeper.take_postponed();
  ASSERT_TRUE(first);
  EXPECT_EQ(std::get<Stop>(*first).how, Stop::How::power_off);
  EXPECT_FALSE(keeper.take_postponed());
}

// The old manager may have committed, or not; the new one decides. So both may answer.
TEST_F(KeeperTest, ANewManagerIsAskedAgainAndMayAnswerTwice) {
  Keeper keeper = make(Mode::read_write);
  engine_.changed = true;
  tell(privsep::Adopt{});
  tell(Committed{31, 11});
  tell(Committed{31, 11});
  ASSERT_TRUE(keeper.keep(command(31), reply("r31"), Effect::none));
  const auto first = asked();
  const auto second = asked();
  ASSERT_TRUE(first && second);
  EXPECT_EQ(encode(*first), encode(*second));
  EXPECT_FALSE(asked());
  ASSERT_TRUE(std::holds_alternative<privsep::Adopt>(*keeper.take_postponed()));
  EXPECT_TRUE(keeper.heard_before(Committed{31, 11}));
  EXPECT_FALSE(keeper.heard_before(Committed{30, 11}));
  EXPECT_FALSE(keeper.heard_before(Committed{31, 12}));
  // The second answer is still in the socket, and is none to the next commit.
  engine_.changed = true;
  tell(Committed{32, 12});
  ASSERT_TRUE(keeper.keep(command(32), reply("r32"), Effect::none));
  EXPECT_EQ(keeper.last_sequence(), 32U);
}

TEST_F(KeeperTest, OnlyTheAnswerToThisCommitLetsTheReplyGo) {
  for (const Committed wrong :
       {Committed{30, 11}, Committed{31, 10}, Committed{31, 12}, Committed{0, 0}}) {
    Keeper keeper = make(Mode::read_write);
    engine_.changed = true;
    tell(wrong);
    EXPECT_FALSE(keeper.keep(command(31), reply("r"), Effect::none))
        << wrong.sequence << " " << wrong.permanent_version;
    EXPECT_TRUE(asked());
  }
}

TEST_F(KeeperTest, ARefusalIsAnErrorWithItsReason) {
  Keeper keeper = make(Mode::read_write);
  engine_.changed = true;
  tell(privsep::Refused{"quota"});
  const auto kept = keeper.keep(command(31), reply("r"), Effect::none);
  ASSERT_FALSE(kept);
  EXPECT_NE(kept.error().message.find("quota"), std::string::npos);
}

TEST_F(KeeperTest, AManagerThatGoesOrTalksNonsenseIsAnError) {
  {
    Keeper keeper = make(Mode::read_write);
    engine_.changed = true;
    EXPECT_TRUE(privsep::send_datagram(manager_.get(), as_bytes("nonsense")));
    EXPECT_FALSE(keeper.keep(command(31), reply("r"), Effect::none));
    EXPECT_TRUE(asked());
  }
  Keeper keeper = make(Mode::read_write);
  engine_.changed = true;
  manager_.reset();
  EXPECT_FALSE(keeper.keep(command(31), reply("r"), Effect::none));
}

TEST_F(KeeperTest, AnEngineThatCannotGiveItsStateKeepsTheReplyBack) {
  Keeper keeper = make(Mode::read_only);
  engine_.broken = true;
  EXPECT_FALSE(keeper.keep(command(31), reply("r"), Effect::volatile_state));
  EXPECT_EQ(in_journal().sequence, 30U);
  EXPECT_EQ(as_text(in_journal().volatile_state), "V0");
}

TEST_F(KeeperTest, AStateOverTheLimitKeepsTheReplyBack) {
  Keeper keeper = make(Mode::read_write);
  engine_.volatile_text.assign(kMaxVolatileState + 1, 'v');
  EXPECT_FALSE(keeper.keep(command(31), reply("r"), Effect::volatile_state));
  EXPECT_EQ(in_journal().sequence, 30U);
}

TEST_F(KeeperTest, KeepingNowChangesTheStateUnderTheSameSequence) {
  Keeper keeper = make(Mode::read_write);
  ASSERT_TRUE(keeper.keep_now());
  EXPECT_EQ(in_journal().sequence, 30U);
  EXPECT_EQ(as_text(in_journal().volatile_state), "V");
  EXPECT_EQ(as_text(in_journal().reply), "reply 30");
}

TEST_F(KeeperTest, PoweringOffCommitsThePermanentPartAlone) {
  Keeper keeper = make(Mode::read_write);
  tell(Committed{30, 11});
  ASSERT_TRUE(keeper.keep_powered_off());
  const auto commit = asked();
  ASSERT_TRUE(commit);
  EXPECT_TRUE(commit->volatile_state.empty());
  EXPECT_TRUE(commit->reply.empty());
  EXPECT_EQ(as_text(commit->permanent), "P");
  EXPECT_FALSE(keeper.reply_of(30)) << "a dead session's reply";
}

}  // namespace
}  // namespace vtpm::worker
