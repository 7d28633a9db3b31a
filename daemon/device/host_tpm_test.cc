// SPDX-License-Identifier: Apache-2.0
// What needs a TPM of the host, with a vTPM of ours in its place: served on a socket, reached by
// tpm2-tss as a real one is.
#include "identity/host_tpm.h"

#include <gtest/gtest.h>

#include "device/archive.h"
#include "device/test_host.h"

namespace vtpm::device::testing {
namespace {

constexpr std::uint32_t kIndex = 0x01817674;

class HostTpmTest : public ManagerTest {
 protected:
  HostTpmTest() {
    ::setenv("TSS2_LOG", "all+NONE", 1);
    open();
    tcti_ = "swtpm:path=" + create("host").socket_path;
  }
  std::string tcti(const std::string& name) { return "swtpm:path=" + create(name).socket_path; }
  identity::HostTpm tpm() {
    auto connected = identity::HostTpm::connect(tcti_);
    EXPECT_TRUE(connected) << connected.error().message;
    return *std::move(connected);
  }
  std::string tcti_;
};

TEST_F(HostTpmTest, OpensWhatItSealedAndNoOtherDoes) {
  const SecretBytes secret = to_secret(as_bytes("thirty-two bytes of host key 123"));
  const auto sealed = tpm().seal(secret);
  ASSERT_TRUE(sealed) << sealed.error().message;
  EXPECT_EQ(as_text(*sealed).find("thirty-two"), std::string::npos);
  for (int i = 0; i < 5; i++) {  // leaves nothing loaded behind
    const auto opened = tpm().unseal(*sealed);
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_EQ(*opened, secret);
  }
  ASSERT_TRUE(manager_->power_cycle("host"));
  EXPECT_TRUE(tpm().unseal(*sealed));
  auto other = identity::HostTpm::connect(tcti("other"));
  ASSERT_TRUE(other);
  EXPECT_EQ(other->unseal(*sealed).error().code, ErrorCode::failed_precondition);
  for (std::size_t i = 0; i < sealed->size(); i += 5) {
    Bytes bad = *sealed;
    bad[i] ^= std::byte{1};
    EXPECT_FALSE(tpm().unseal(bad)) << i;
  }
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, sealed->size() - 1})
    EXPECT_FALSE(tpm().unseal(ByteView(*sealed).first(size)));
}

TEST_F(HostTpmTest, ItsCounterOnlyGrows) {
  auto tpm = this->tpm();
  EXPECT_EQ(tpm.counter(kIndex).error().code, ErrorCode::not_found);
  const auto first = tpm.make_counter(kIndex);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(tpm.make_counter(kIndex).error().code, ErrorCode::exists);
  EXPECT_EQ(*tpm.advance(kIndex), *first + 1);
  EXPECT_EQ(*tpm.counter(kIndex), *first + 1);
  ASSERT_TRUE(tpm.remove_counter(kIndex));
  EXPECT_GT(*tpm.make_counter(kIndex), *first + 1) << "a counter made anew is no way back";
}

TEST_F(HostTpmTest, ATpmThatIsNotThereIsAnError) {
  for (const char* bad : {"", "swtpm:path=/nowhere", "nonsense:x"}) {
    const auto connected = identity::HostTpm::connect(bad);
    ASSERT_FALSE(connected) << bad;
    EXPECT_FALSE(connected.error().hint.empty());
  }
}

TEST_F(HostTpmTest, KeepsTheHostKeyAndItsSuccessors) {
  const ArchiveOptions options{folder_ / "other", "tpm:" + tcti_, "", ""};
  store::Record record;
  record.uuid.bytes.fill(std::byte{7});
  record.settings.name = "guarded";
  Checkpoint checkpoint;
  checkpoint.permanent_version = 1;
  checkpoint.permanent = to_secret(as_bytes("state"));
  {
    auto archive = Archive::open(options);
    ASSERT_TRUE(archive) << archive.error().message;
    ASSERT_TRUE((*archive)->records().create(record));
    const auto request = (*archive)->vault().prepare(record, checkpoint);
    ASSERT_TRUE((*archive)->records().commit_all({*request}).at(0));
  }
  const std::string first = read_file(folder_ / "other/host.key.tpm");
  const auto opens = [&] {
    const auto archive = Archive::open(options);
    if (!archive) return archive.error().message;
    const auto state = (*archive)->vault().open(*(*archive)->records().get(record.uuid));
    return state ? std::string(as_text((*state)->permanent)) : state.error().message;
  };
  EXPECT_EQ(opens(), "state");
  {
    auto archive = Archive::open(options);
    const auto rotated = (*archive)->rotate_host_key();
    ASSERT_TRUE(rotated) << rotated.error().message;
  }
  EXPECT_EQ(opens(), "state");
  EXPECT_NE(read_file(folder_ / "other/host.key.tpm"), first);
  // From a file to the TPM, and without the TPM nothing.
  const ArchiveOptions away{folder_ / "other", "", "tpm:" + tcti_, ""};
  EXPECT_TRUE(Archive::open(away));
  const ArchiveOptions back{folder_ / "other", "tpm:" + tcti_,
                            "file:" + (folder_ / "other/host.key"), ""};
  EXPECT_TRUE(Archive::open(back));
  EXPECT_EQ(opens(), "state");
  ASSERT_TRUE(manager_->stop("host", false));
  EXPECT_NE(opens(), "state");
}

}  // namespace
}  // namespace vtpm::device::testing
