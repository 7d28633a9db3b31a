// SPDX-License-Identifier: Apache-2.0
// A new host key, and a process that dies between any two steps of the change.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/temporary_folder.h"
#include "device/archive.h"

namespace vtpm::device {
namespace {

constexpr unsigned kDevices = 5;

// The real source; kills its process where it is told to.
class DyingSource final : public KeySource {
 public:
  DyingSource(std::unique_ptr<KeySource> real, int at) : real_(std::move(real)), at_(at) {}
  Result<store::HostKey> load() override { return real_->load(); }
  Result<store::HostKey> load_next() override { return real_->load_next(); }
  Result<store::HostKey> make_next() override {
    step(0);
    auto key = real_->make_next();
    step(1);  // then the store is put under it
    return key;
  }
  Result<void> promote() override {
    step(2);
    auto done = real_->promote();
    step(3);
    return done;
  }
  Result<void> drop_next() override { return real_->drop_next(); }

 private:
  void step(int n) const {
    if (n == at_) ::kill(::getpid(), SIGKILL);
  }
  std::unique_ptr<KeySource> real_;
  int at_;
};

class RotationTest : public ::testing::Test {
 protected:
  RotationTest() {
    auto archive = open();
    if (archive) certificate_ = certificate_of(*archive);
    for (unsigned n = 1; archive && n <= kDevices; n++) {
      store::Record r;
      r.uuid = id(n);
      r.settings.name = "device-" + std::to_string(n);
      EXPECT_TRUE(archive->records().create(r));
      if (n == kDevices) break;  // one without a state, as a read-only device
      Checkpoint c;
      c.permanent_version = 1;
      c.permanent = to_secret(as_bytes("state " + std::to_string(n)));
      auto request = archive->vault().prepare(r, c);
      EXPECT_TRUE(request);
      EXPECT_TRUE(archive->records().commit_all({*request}).at(0));
    }
  }
  static Uuid id(unsigned n) {
    Uuid uuid;
    uuid.bytes.fill(std::byte{0x5a});
    store_be32(uuid.bytes.data(), n);
    return uuid;
  }
  ArchiveOptions options() { return {folder_ / "state", "", "", ""}; }
  std::unique_ptr<Archive> open() {
    auto archive = Archive::open(options());
    EXPECT_TRUE(archive) << archive.error().message;
    return archive ? *std::move(archive) : nullptr;
  }
  static Bytes certificate_of(Archive& archive) {
    const auto authority = archive.authority();
    EXPECT_TRUE(authority) << authority.error().message;
    return authority ? (*authority)->root() : Bytes();
  }
  // Every state opens, and the certificate authority is the one that it was.
  void expect_sound(Archive* archive) {
    ASSERT_NE(archive, nullptr);
    EXPECT_EQ(certificate_of(*archive), certificate_);
    for (unsigned n = 1; n <= kDevices; n++) {
      const auto record = archive->records().get(id(n));
      ASSERT_TRUE(record) << n << ": " << record.error().message;
      const auto state = archive->vault().open(*record);
      ASSERT_TRUE(state) << n << ": " << state.error().message;
      if (n < kDevices)
        EXPECT_EQ(as_text((*state)->permanent), "state " + std::to_string(n));
      else
        EXPECT_FALSE(*state);
    }
  }
  [[nodiscard]] std::string key() const { return read_file(folder_ / "state/host.key"); }
  [[nodiscard]] bool has_next() const {
    return ::access((folder_ / "state/host.key.next").c_str(), F_OK) == 0;
  }
  TemporaryFolder folder_;
  Bytes certificate_;
};

TEST_F(RotationTest, EveryStateOpensAfterwardsAndTheOldKeyIsGone) {
  const std::string old = key();
  auto archive = open();
  for (int i = 0; i < 2; i++) {
    const auto count = archive->rotate_host_key();
    ASSERT_TRUE(count) << count.error().message;
    EXPECT_EQ(*count, kDevices);
    expect_sound(archive.get());  // the process that did it goes on
  }
  EXPECT_TRUE(archive->records().set_powered(id(1), archive->records().get(id(1))->version, true));
  archive.reset();
  EXPECT_NE(key(), old);
  EXPECT_FALSE(has_next());
  expect_sound(open().get());
  // The old key opens nothing, and what it had wrapped is nowhere in the files.
  write_file(folder_ / "old.key", old);
  ASSERT_EQ(::chmod((folder_ / "old.key").c_str(), 0600), 0);
  auto with_old = options();
  with_old.host_key = folder_ / "old.key";
  EXPECT_EQ(Archive::open(with_old).error().code, ErrorCode::corrupt);
}

TEST_F(RotationTest, AProcessKilledBetweenAnyTwoStepsLeavesAKeyThatOpensAll) {
  for (int at = 0; at <= 3; at++) {
    SCOPED_TRACE(at);
    const std::string before = key();
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto real = KeySource::make("", folder_ / "state");
      if (!real) ::_exit(1);
      auto archive = Archive::open(options(), std::make_unique<DyingSource>(*std::move(real), at));
      if (archive) (void)(*archive)->rotate_host_key();
      ::_exit(1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it was not killed";
    EXPECT_EQ(has_next(), at == 1 || at == 2);
    expect_sound(open().get());
    EXPECT_FALSE(has_next());
    EXPECT_EQ(key() == before, at <= 1);
  }
}

TEST_F(RotationTest, AProcessKilledAtAnyTimeLeavesAKeyThatOpensAll) {
  for (int round = 0; round < 12; round++) {
    SCOPED_TRACE(round);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto archive = Archive::open(options());
      while (archive && (*archive)->rotate_host_key()) {
      }
      ::_exit(1);
    }
    ::usleep(static_cast<useconds_t>(20'000 + round * 7'321));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    expect_sound(open().get());
  }
}

TEST_F(RotationTest, ARecordThatCannotBeUsedIsNotLostWithTheOldKey) {
  {
    auto store = store::open_sqlite(folder_ / "state/store.db");
    ASSERT_TRUE(store);
    ASSERT_TRUE((*store)->set_powered(id(2), (*store)->get(id(2))->version, true, {}));
  }
  const std::string before = key();
  auto archive = open();
  const auto refused = archive->rotate_host_key();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::failed_precondition);
  EXPECT_NE(refused.error().message.find("device-2"), std::string::npos);
  EXPECT_EQ(key(), before);
  EXPECT_FALSE(has_next());
  ASSERT_TRUE(archive->records().discard(id(2)));
  EXPECT_TRUE(archive->rotate_host_key());
}

TEST_F(RotationTest, AnotherSourceTakesOverFromTheOldOne) {
  auto moved = options();
  moved.host_key = "file:" + (folder_ / "elsewhere.key");
  EXPECT_EQ(Archive::open(moved).error().code, ErrorCode::not_found) << "no key is made by guess";
  moved.old_host_key = "file:" + (folder_ / "state/host.key");
  for (int i = 0; i < 2; i++) {  // said twice, it does nothing
    const auto archive = Archive::open(moved);
    ASSERT_TRUE(archive) << archive.error().message;
    expect_sound(archive->get());
  }
  EXPECT_EQ(Archive::open(options()).error().code, ErrorCode::corrupt);
  moved.old_host_key.clear();
  EXPECT_TRUE(Archive::open(moved));
}

TEST_F(RotationTest, ACredentialIsReadAndReplacedByAnotherOne) {
  auto with = options();
  with.host_key = "credential:one";
  ::unsetenv("CREDENTIALS_DIRECTORY");
  EXPECT_EQ(Archive::open(with).error().code, ErrorCode::failed_precondition);
  ::setenv("CREDENTIALS_DIRECTORY", (folder_ / "credentials").c_str(), 1);
  std::filesystem::create_directory(folder_ / "credentials");
  EXPECT_NE(Archive::open(with).error().hint.find("systemd-creds"), std::string::npos);
  for (const char* name : {"one", "two"}) {
    const std::string path = folder_ / ("credentials/" + std::string(name));
    write_file(path, std::string(32, name[0]));
    ASSERT_EQ(::chmod(path.c_str(), 0400), 0);
  }
  with.old_host_key = "file:" + (folder_ / "state/host.key");
  {
    const auto archive = Archive::open(with);
    ASSERT_TRUE(archive) << archive.error().message;
    const auto refused = (*archive)->rotate_host_key();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::failed_precondition);
    EXPECT_NE(refused.error().hint.find("--old-host-key"), std::string::npos);
    expect_sound(archive->get());
  }
  with.host_key = "credential:two";
  with.old_host_key = "credential:one";
  const std::string two = folder_ / "credentials/two";
  ASSERT_EQ(::chmod(two.c_str(), 0444), 0);
  EXPECT_EQ(Archive::open(with).error().code, ErrorCode::permission);
  ASSERT_EQ(::chmod(two.c_str(), 0440), 0);  // what stat() makes of an ACL
  const auto archive = Archive::open(with);
  ASSERT_TRUE(archive) << archive.error().message;
  expect_sound(archive->get());
  ::unsetenv("CREDENTIALS_DIRECTORY");
  for (const char* bad : {"credential:", "credential:../x", "tpm:", "file:"})
    EXPECT_EQ(KeySource::make(bad, "/x").error().code, ErrorCode::invalid_argument) << bad;
}

}  // namespace
}  // namespace vtpm::device
