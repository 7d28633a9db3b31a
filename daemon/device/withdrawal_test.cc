// SPDX-License-Identifier: Apache-2.0
// What the store keeps of devices that are gone, and that nobody changes it unseen.
#include <gtest/gtest.h>

#include "base/temporary_folder.h"
#include "device/archive.h"
#include "identity/test_story.h"

namespace vtpm::device {
namespace {

class WithdrawalTest : public ::testing::Test, protected identity::testing::Story {
 protected:
  std::unique_ptr<Archive> open() {
    auto archive = Archive::open(ArchiveOptions{folder_ / "state", "", "", "", ""});
    EXPECT_TRUE(archive) << archive.error().message;
    return archive ? *std::move(archive) : nullptr;
  }
  // A device with an identity, that is then taken out.
  static store::Record make(Archive& archive, const identity::Lineage& lineage, unsigned n,
                            store::Role role = store::Role::device) {
    store::Record record;
    record.uuid.bytes.fill(static_cast<std::byte>(n));
    record.settings.name = "device-" + std::to_string(n);
    record.settings.role = role;
    Checkpoint first;
    first.permanent = SecretBytes(8, std::byte{1});
    first.permanent_version = 1;
    auto sealed = *archive.vault().prepare(
        record, first, {.mode = 0, .lineage = identity::encode(lineage), .role = {}});
    record.wrapped_key = std::move(sealed.wrapped_key);
    record.state = std::move(sealed.state);
    record.lineage = std::move(sealed.lineage);
    record.version.generation = 1;
    EXPECT_TRUE(archive.records().create(record));
    return *archive.records().get(record.uuid);
  }
  static void remove(Archive& archive, const store::Record& record) {
    const auto withdrawn = archive.withdraw(record);
    ASSERT_TRUE(withdrawn) << withdrawn.error().message;
    ASSERT_TRUE(archive.records().remove(record.uuid, record.version, *withdrawn));
  }
  [[nodiscard]] identity::Lineage lineage() const {
    identity::Lineage lineage;
    lineage.family_key = family_.private_key();
    lineage.family_certificate = family_.certificate();
    lineage.authorization.resize(identity::kLineageAuthorization);
    lineage.certificates = {certificates_[0]};
    lineage.log = {log_[0]};
    return lineage;
  }
  // internal: it is as it was written.
  static ErrorCode code(const Result<std::vector<identity::Withdrawal>>& result) {
    return result ? ErrorCode::internal : result.error().code;
  }
  TemporaryFolder folder_;
};

TEST_F(WithdrawalTest, IsKeptOfWhatHadCertificatesOfItsOwn) {
  {
    const auto archive = open();
    EXPECT_TRUE(archive->withdrawals()->empty());
    remove(*archive, make(*archive, lineage(), 1));
    remove(*archive, make(*archive, lineage(), 2, store::Role::quarantined));
    ASSERT_TRUE(archive->rotate_host_key());
    remove(*archive, make(*archive, lineage(), 3));
    store::Record blank;
    blank.uuid.bytes.fill(std::byte{4});
    EXPECT_EQ(archive->withdraw(blank)->number, 0U) << "it has no identity";
  }
  const auto archive = open();
  const auto all = archive->withdrawals();
  ASSERT_TRUE(all) << all.error().message;
  ASSERT_EQ(all->size(), 2U);
  EXPECT_EQ(all->front().certificates.front(), *identity::id_of(certificates_[0]));
  EXPECT_EQ(*archive->count_list(2), 1U);
  EXPECT_EQ(*archive->count_list(2), 2U);
}

TEST_F(WithdrawalTest, WhatSomebodyAddedOrTookAwayIsNoticed) {
  const auto changed_by = [&](auto change) {
    std::filesystem::remove_all(folder_ / "state");
    const auto archive = open();
    for (unsigned n = 1; n <= 2; n++) remove(*archive, make(*archive, lineage(), n));
    EXPECT_TRUE(archive->withdrawals());
    change(*archive);
    return code(archive->withdrawals());
  };
  const auto third = [&](auto forge) {
    return changed_by([&](Archive& archive) {
      const auto record = make(archive, lineage(), 3);
      auto row = *archive.withdraw(record);
      forge(row);
      ASSERT_TRUE(archive.records().remove(record.uuid, record.version, row));
    });
  };
  EXPECT_EQ(third([](store::Withdrawn&) {}), ErrorCode::internal) << "nobody did";
  EXPECT_EQ(third([](store::Withdrawn& row) { row.content[20] ^= std::byte{1}; }),
            ErrorCode::corrupt);
  EXPECT_EQ(third([](store::Withdrawn& row) { row.content.resize(3); }), ErrorCode::corrupt);
  EXPECT_EQ(third([](store::Withdrawn& row) { row.number++; }), ErrorCode::corrupt) << "a gap";
  EXPECT_EQ(changed_by([](Archive& archive) { ASSERT_TRUE(archive.count_list(3)); }),
            ErrorCode::corrupt)
      << "a list was made of one more";
}

}  // namespace
}  // namespace vtpm::device
