// SPDX-License-Identifier: Apache-2.0
// What becomes of a device when workers die, managers restart and files are lost or damaged.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>

#include "device/test_host.h"

namespace vtpm::device::testing {
namespace {

TEST_F(ManagerTest, AKilledWorkerIsReplacedAndPcrsStay) {
  open();
  for (const bool read_only : {false, true}) {
    const std::string name = read_only ? "ro" : "rw";
    const View view = create(name, true, read_only);
    extend_pcr16(view.socket_path);
    const std::string before = pcr16(view.socket_path);
    // More often than the limit of crashes: somebody outside killed it, which is not its fault.
    for (int i = 0; i < 7; i++) {
      ASSERT_EQ(kill_worker(name, SIGKILL).phase, Phase::on) << i;
      EXPECT_EQ(pcr16(view.socket_path), before);
    }
    EXPECT_EQ(show(name).restarts, 7U);
  }
}

TEST_F(ManagerTest, CrashesInQuickSuccessionFailTheDeviceAndAPowerCycleMendsIt) {
  open();
  const View view = create("one");
  const View bystander = create("two");
  int crashes = 0;
  while (crashes < 5 && kill_worker("one", SIGABRT).phase == Phase::on) crashes++;
  const View failed = wait_for_phase("one", Phase::failed);
  EXPECT_GE(crashes, 1) << "one crash alone is mended";
  EXPECT_FALSE(failed.failure.empty());
  expect_failure(view);
  EXPECT_EQ(manager_->start("one").error().code, ErrorCode::failed_precondition);
  EXPECT_EQ(show("two").worker_pid, bystander.worker_pid) << "another device lost its worker";
  const auto mended = manager_->power_cycle("one");
  ASSERT_TRUE(mended) << mended.error().message;
  EXPECT_EQ(mended->phase, Phase::on);
  EXPECT_TRUE(mended->failure.empty());
  EXPECT_FALSE(pcr16(view.socket_path).empty());
}

TEST_F(ManagerTest, AKilledForkServerTakesNothingAwayFromDevices) {
  open();
  const View view = create("one");
  extend_pcr16(view.socket_path);
  const std::string before = pcr16(view.socket_path);
  std::ifstream stat("/proc/" + std::to_string(view.worker_pid) + "/stat");
  std::string line;
  std::getline(stat, line);
  const int parent = std::stoi(line.substr(line.rfind(')') + 4));
  ASSERT_GT(parent, 1);
  ::kill(parent, SIGKILL);
  wait_for("one",
           [&](const View& v) { return v.phase == Phase::on && v.worker_pid != view.worker_pid; });
  EXPECT_EQ(pcr16(view.socket_path), before);
}

TEST_F(ManagerTest, ANewManagerGoesOnWithWhatWasOn) {
  open();
  View on = create("on");
  create("off", false);
  create("ro", true, true);
  extend_pcr16(on.socket_path);
  const std::string before = pcr16(on.socket_path);
  close();
  open();
  on = wait_for_phase("on", Phase::on);
  wait_for_phase("ro", Phase::on);
  EXPECT_EQ(pcr16(on.socket_path), before);
  EXPECT_EQ(show("off").phase, Phase::off);
}

TEST_F(ManagerTest, ALostJournalIsAPowerCutForASocket) {
  open();
  const View view = create("one");
  const std::string reset = pcr16(view.socket_path);
  extend_pcr16(view.socket_path);
  close();
  ASSERT_EQ(::unlink(journal_of(view).c_str()), 0);
  open();
  wait_for_phase("one", Phase::on);
  EXPECT_EQ(pcr16(view.socket_path), reset);
}

TEST_F(ManagerTest, ADamagedJournalFailsTheDeviceUntilAPowerCycle) {
  open();
  const View view = create("one");
  const std::string reset = pcr16(view.socket_path);
  extend_pcr16(view.socket_path);
  close();
  const std::string whole = read_file(journal_of(view));
  ASSERT_FALSE(whole.empty());
  std::string damaged = whole;
  for (std::size_t i = 4096 + 16; i < damaged.size(); i++) damaged[i] = '\xee';
  write_file(journal_of(view), damaged);
  open();
  EXPECT_FALSE(wait_for_phase("one", Phase::failed).failure.empty());
  close();
  open();  // and a restart does not forget
  wait_for_phase("one", Phase::failed);
  expect_failure(view);
  const auto cycled = manager_->power_cycle("one");
  ASSERT_TRUE(cycled) << cycled.error().message;
  EXPECT_EQ(pcr16(cycled->socket_path), reset);
}

TEST_F(ManagerTest, ADamagedJournalUnderALiveClientIsAFailureAndNoReset) {
  open();
  for (const bool read_only : {false, true}) {
    const std::string name = read_only ? "ro" : "rw";
    const View view = create(name, true, read_only);
    const std::string reset = pcr16(view.socket_path);
    extend_pcr16(view.socket_path);
    // Its worker has the file mapped; what is written here is what its successor finds.
    write_file(journal_of(view), std::string(100, 'x'));
    EXPECT_EQ(kill_worker(name, SIGKILL).phase, Phase::failed);
    expect_failure(view);
    // Who answers can be killed too: another one answers, and nothing else comes of it.
    const View failed = wait_for(name, [](const View& v) { return v.worker_pid != 0; });
    ::kill(failed.worker_pid, SIGSEGV);
    wait_for(name,
             [&](const View& v) { return v.worker_pid != 0 && v.worker_pid != failed.worker_pid; });
    EXPECT_EQ(show(name).phase, Phase::failed);
    EXPECT_EQ(show(name).failure, failed.failure);
    expect_failure(view);
    const auto cycled = manager_->power_cycle(name);
    ASSERT_TRUE(cycled) << cycled.error().message;
    EXPECT_EQ(cycled->phase, Phase::on);
    EXPECT_EQ(pcr16(view.socket_path), reset);
    extend_pcr16(view.socket_path);
    EXPECT_NE(pcr16(view.socket_path), reset);
  }
}

TEST_F(ManagerTest, AFailedDeviceCanBeStoppedAndStarted) {
  open();
  const View view = create("one");
  const std::string reset = pcr16(view.socket_path);
  extend_pcr16(view.socket_path);
  write_file(journal_of(view), "");
  ASSERT_EQ(kill_worker("one", SIGKILL).phase, Phase::failed);
  expect_failure(view);
  const auto stopped = manager_->stop("one", false);
  ASSERT_TRUE(stopped) << stopped.error().message;
  EXPECT_EQ(stopped->worker_pid, 0);
  EXPECT_TRUE(stopped->failure.empty());
  ASSERT_TRUE(manager_->start("one"));
  EXPECT_EQ(pcr16(view.socket_path), reset);
}

TEST_F(ManagerTest, ADamagedRecordIsShownAndCanOnlyBeDeleted) {
  open();
  const View state = create("state");
  const View mode = create("mode", true, true);
  create("sound");
  ASSERT_TRUE(manager_->stop("state", false));
  close();
  {
    auto store = store::open_sqlite(folder_ / "state/store.db");
    ASSERT_TRUE(store) << store.error().message;
    auto record = (*store)->get(state.uuid);
    ASSERT_TRUE(record);
    record->state.bytes.back() ^= std::byte{1};
    record->state.epoch = record->version.epoch;
    record->state.generation = record->version.generation + 1;
    ASSERT_TRUE((*store)->commit(state.uuid, record->version, record->state, {}, record->voucher));
    // A read-only device that would be read-write with the next start.
    record = (*store)->get(mode.uuid);
    ASSERT_TRUE(record);
    ASSERT_TRUE((*store)->remove(mode.uuid, record->version));
    record->uuid.bytes[0] ^= std::byte{1};
    record->settings.mode = static_cast<std::uint8_t>(privsep::DeviceMode::read_write);
    ASSERT_TRUE((*store)->create(*record));
  }
  open();
  wait_for_phase("sound", Phase::on);
  for (const char* name : {"state", "mode"}) {
    const View view = show(name);
    EXPECT_EQ(view.phase, Phase::failed);
    EXPECT_NE(view.failure.find("changed by somebody else"), std::string::npos) << view.failure;
    EXPECT_EQ(view.worker_pid, 0);
    for (const auto& done : {manager_->start(name), manager_->power_cycle(name),
                             manager_->stop(name, false), manager_->create(settings(name), false)})
      ASSERT_FALSE(done);
    EXPECT_EQ(manager_->start(name).error().code, ErrorCode::corrupt);
    EXPECT_FALSE(manager_->start(name).error().hint.empty());
  }
  EXPECT_EQ(manager_->list("", 0)->size(), 3U);
  const auto findings = manager_->examine();
  ASSERT_TRUE(findings);
  EXPECT_TRUE(std::any_of(findings->begin(), findings->end(), [](const Finding& f) {
    return f.name == "devices" && f.status == Finding::Status::failure &&
           f.text.find("state") != std::string::npos;
  }));
  EXPECT_TRUE(manager_->remove("state", false, true));
  EXPECT_TRUE(manager_->remove(show("mode").uuid.to_string(), false, false));
  EXPECT_TRUE(manager_->create(settings("mode"), true));
  EXPECT_EQ(manager_->list("", 0)->size(), 2U);
  close();
  open();
  EXPECT_EQ(wait_for_phase("mode", Phase::on).failure, "");
}

TEST_F(ManagerTest, ADeviceIsNotStartedOverWhatIsNoSocket) {
  open();
  auto s = settings("one");
  s.socket_path = folder_ / "precious";
  write_file(s.socket_path, "data");
  ASSERT_TRUE(manager_->create(s, false));
  const auto started = manager_->start("one");
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, ErrorCode::exists);
  EXPECT_EQ(read_file(s.socket_path), "data");
  EXPECT_EQ(show("one").phase, Phase::off);
  ASSERT_EQ(::unlink(s.socket_path.c_str()), 0);
  EXPECT_TRUE(manager_->start("one"));
}

TEST_F(ManagerTest, AnEngineThatIsNotThereIsAnErrorAtOnce) {
  ManagerOptions options;
  options.state_dir = folder_ / "state";
  options.run_dir = folder_ / "run";
  options.engine_path = folder_ / "no-engine";
  options.kernel = false;
  options.volatile_on_any_filesystem = true;
  const auto opened = Manager::open(options);
  ASSERT_FALSE(opened);
  EXPECT_FALSE(opened.error().hint.empty());
}

}  // namespace
}  // namespace vtpm::device::testing
