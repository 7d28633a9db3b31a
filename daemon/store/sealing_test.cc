// SPDX-License-Identifier: Apache-2.0
#include "store/sealing.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <set>

#include "base/temporary_folder.h"
#include "store/store_contract.h"

namespace vtpm::store {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const SealContext kContext{test_uuid(1), 3, 258, BlobKind::checkpoint};

SecretBytes counting_key(unsigned first) {
  SecretBytes key(32);
  for (std::size_t i = 0; i < key.size(); i++) key[i] = static_cast<std::byte>(first + i);
  return key;
}

TEST(Seal, GivesBackWhatWasSealed) {
  const SecretBytes key = *make_device_key();
  for (const std::size_t size : {0U, 1U, 15U, 16U, 17U, 17000U, 1024U * 1024U}) {
    const SecretBytes plain(size, std::byte{0x42});
    const auto sealed = seal(key, kContext, plain);
    ASSERT_TRUE(sealed.has_value()) << size;
    EXPECT_EQ(sealed->size(), size + 29);
    const auto back = unseal(key, kContext, *sealed);
    ASSERT_TRUE(back.has_value()) << back.error().message;
    EXPECT_EQ(*back, plain);
  }
  EXPECT_FAILS(seal(key, kContext, Bytes(1024 * 1024 + 1)), too_large);
}

// Made by another implementation of AES-GCM: the format on the disk must not drift.
TEST(Seal, OpensWhatEarlierVersionsSealed) {
  const SealContext context{*Uuid::parse("01234567-89ab-4def-8123-456789abcdef"), 3, 258,
                            BlobKind::checkpoint};
  const auto plain = unseal(
      counting_key(0), context,
      *from_hex("01a0a1a2a3a4a5a6a7a8a9aaab8570194e2ebb6dd60c11a6544492aeff68d80456b87eecf0b8c9"));
  ASSERT_TRUE(plain.has_value()) << plain.error().message;
  EXPECT_EQ(as_text(*plain), "checkpoint");
}

TEST(Seal, EveryFlippedBitIsRefused) {
  const SecretBytes key = *make_device_key();
  const Bytes sealed = *seal(key, kContext, as_bytes("state of a TPM"));
  for (std::size_t bit = 0; bit < sealed.size() * 8; bit++) {
    Bytes bad = sealed;
    bad[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    const auto opened = unseal(key, kContext, bad);
    ASSERT_FALSE(opened.has_value()) << "bit " << bit;
    EXPECT_EQ(opened.error().code, bit < 8 ? ErrorCode::unsupported : ErrorCode::corrupt);
  }
}

TEST(Seal, EveryOtherLengthIsRefused) {
  const SecretBytes key = *make_device_key();
  const Bytes sealed = *seal(key, kContext, as_bytes("state of a TPM"));
  for (std::size_t size = 0; size < sealed.size(); size++)
    EXPECT_FAILS(unseal(key, kContext, ByteView(sealed).first(size)), corrupt);
  Bytes longer = sealed;
  longer.push_back(std::byte{0});
  EXPECT_FAILS(unseal(key, kContext, longer), corrupt);
  EXPECT_FAILS(unseal(key, kContext, Bytes(2 * 1024 * 1024, std::byte{1})), corrupt);
}

TEST(Seal, ABlobOpensOnlyForItsDeviceVersionKindAndKey) {
  const SecretBytes key = *make_device_key();
  const Bytes sealed = *seal(key, kContext, as_bytes("state"));
  const auto refused = [&](const std::function<void(SealContext&)>& change) {
    SealContext other = kContext;
    change(other);
    EXPECT_FAILS(unseal(key, other, sealed), corrupt);
  };
  refused([](SealContext& c) { c.device = test_uuid(2); });
  refused([](SealContext& c) { c.epoch++; });
  refused([](SealContext& c) { c.epoch--; });
  refused([](SealContext& c) { c.generation++; });
  refused([](SealContext& c) { c.generation--; });
  refused([](SealContext& c) { std::swap(c.epoch, c.generation); });
  refused([](SealContext& c) { c.kind = static_cast<BlobKind>(2); });
  EXPECT_FAILS(unseal(*make_device_key(), kContext, sealed), corrupt);
  EXPECT_TRUE(unseal(key, kContext, sealed).has_value());
}

TEST(Seal, RefusesKeysOfAnotherSize) {
  const Bytes sealed = *seal(*make_device_key(), kContext, as_bytes("x"));
  for (const std::size_t size : {0U, 16U, 31U, 33U}) {
    EXPECT_FAILS(seal(Bytes(size), kContext, as_bytes("x")), invalid_argument);
    EXPECT_FAILS(unseal(Bytes(size), kContext, sealed), invalid_argument);
  }
}

TEST(Seal, NoncesAndKeysDoNotRepeat) {
  const SecretBytes key = *make_device_key();
  std::set<std::string> seen;
  for (int i = 0; i < 1000; i++) {
    EXPECT_TRUE(seen.insert(to_hex(ByteView(*seal(key, kContext, {})).subspan(1, 12))).second);
    EXPECT_TRUE(seen.insert(to_hex(*make_device_key())).second);
  }
}

class HostKeyFile : public ::testing::Test {
 protected:
  TemporaryFolder folder_;
  const std::string path_ = folder_ / "host.key";

  void put(const std::string& content, mode_t mode = 0600) {
    write_file(path_, content);
    ASSERT_EQ(::chmod(path_.c_str(), mode), 0);
  }
};

TEST_F(HostKeyFile, IsMadeOnceAndOnlyIfAskedFor) {
  EXPECT_FAILS(HostKey::from_file(path_, false), not_found);
  const mode_t before = ::umask(0777);  // neither too open nor too closed
  const auto made = HostKey::from_file(path_, true);
  ::umask(before);
  ASSERT_TRUE(made.has_value()) << made.error().message;
  struct stat st{};
  ASSERT_EQ(::stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode, mode_t{S_IFREG | 0600});
  const std::string content = read_file(path_);
  EXPECT_EQ(content.size(), 32U);
  const auto entries = std::filesystem::directory_iterator(folder_.path());
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 1);  // nothing temporary stays

  const SecretBytes key = *make_device_key();
  const Bytes wrapped = *made->wrap(test_uuid(1), key);
  for (const bool create : {true, false}) {
    const auto again = HostKey::from_file(path_, create);
    ASSERT_TRUE(again.has_value());
    EXPECT_EQ(*again->unwrap(test_uuid(1), wrapped), key);
  }
  EXPECT_EQ(read_file(path_), content);
}

TEST_F(HostKeyFile, NeedsAFolder) {
  EXPECT_FAILS(HostKey::from_file(folder_ / "missing/host.key", true), not_found);
}

TEST_F(HostKeyFile, OthersMayNotReadOrWriteIt) {
  const std::string secret(32, 'k');
  for (const mode_t mode : {0640U, 0604U, 0620U, 0602U, 0601U, 0610U, 0777U}) {
    put(secret, mode);
    const auto key = HostKey::from_file(path_, true);
    ASSERT_FALSE(key.has_value()) << mode;
    EXPECT_EQ(key.error().code, ErrorCode::permission);
    EXPECT_EQ(key.error().hint, "chmod 0600 " + path_);
    EXPECT_THAT(key.error().message, Not(HasSubstr("kkk")));
  }
  put(secret, 0400);
  EXPECT_TRUE(HostKey::from_file(path_, false).has_value());
}

TEST_F(HostKeyFile, BelongsToRootOrUs) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to give a file away";
  put(std::string(32, 'k'));
  ASSERT_EQ(::chown(path_.c_str(), 12345, 0), 0);
  const auto key = HostKey::from_file(path_, true);
  ASSERT_FALSE(key.has_value());
  EXPECT_EQ(key.error().code, ErrorCode::permission);
  EXPECT_THAT(key.error().message, HasSubstr("user 12345"));
  EXPECT_THAT(key.error().hint, HasSubstr("chown 0 "));
}

TEST_F(HostKeyFile, HasExactly32Bytes) {
  for (const std::size_t size : {0U, 1U, 31U, 33U, 64U, 100000U}) {
    put(std::string(size, 'k'));
    const auto key = HostKey::from_file(path_, true);
    ASSERT_FALSE(key.has_value()) << size;
    EXPECT_EQ(key.error().code, ErrorCode::corrupt);
    EXPECT_THAT(key.error().hint, HasSubstr("backup"));
    EXPECT_THAT(key.error().message, Not(HasSubstr("kkk")));
    EXPECT_EQ(read_file(path_).size(), size);  // never replaced
  }
  put(std::string(32, '\0'));
  EXPECT_FAILS(HostKey::from_file(path_, true), corrupt);
}

TEST_F(HostKeyFile, IsARegularFile) {
  const std::string real = folder_ / "elsewhere";
  write_file(real, std::string(32, 'k'));
  ASSERT_EQ(::chmod(real.c_str(), 0600), 0);
  ASSERT_EQ(::symlink(real.c_str(), path_.c_str()), 0);
  const auto link = HostKey::from_file(path_, true);
  ASSERT_FALSE(link.has_value());
  EXPECT_EQ(link.error().code, ErrorCode::permission);
  EXPECT_THAT(link.error().message, HasSubstr("symbolic link"));
  EXPECT_FALSE(link.error().hint.empty());

  ASSERT_EQ(::unlink(path_.c_str()), 0);
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_FAILS(HostKey::from_file(path_, true), permission);  // and does not hang
  ASSERT_EQ(::unlink(path_.c_str()), 0);
  ASSERT_EQ(::mkdir(path_.c_str(), 0700), 0);
  EXPECT_FAILS(HostKey::from_file(path_, true), permission);
}

TEST_F(HostKeyFile, WrapsKeysForOneDeviceEach) {
  put(std::string(as_text(counting_key(0))));
  const HostKey host = *HostKey::from_file(path_, false);
  const Uuid device = *Uuid::parse("01234567-89ab-4def-8123-456789abcdef");
  const auto known = host.unwrap(
      device, *from_hex("01a0a1a2a3a4a5a6a7a8a9aaaba6593e6e018e44f82a2ccd984b378e9120fd0b43c6e2143b"
                        "c4577cdd23f62b5e3dbf6aa9897a674fee4968d01be20dad"));
  ASSERT_TRUE(known.has_value()) << known.error().message;
  EXPECT_EQ(*known, counting_key(64));

  const Bytes wrapped = *host.wrap(device, *known);
  EXPECT_EQ(*host.unwrap(device, wrapped), *known);
  EXPECT_FAILS(host.unwrap(test_uuid(2), wrapped), corrupt);
  for (std::size_t bit = 0; bit < wrapped.size() * 8; bit++) {
    Bytes bad = wrapped;
    bad[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    ASSERT_FALSE(host.unwrap(device, bad).has_value()) << "bit " << bit;
  }
  EXPECT_FAILS(host.unwrap(device, {}), corrupt);
  EXPECT_FAILS(host.wrap(device, as_bytes("short")), invalid_argument);
  // A sealed blob is no wrapped key, also under the same key.
  const Bytes blob = *seal(counting_key(0), {device, 0, 0, BlobKind::checkpoint}, *known);
  EXPECT_FAILS(host.unwrap(device, blob), corrupt);
}

TEST_F(HostKeyFile, AnotherHostsKeyOpensNothing) {
  const HostKey one = *HostKey::from_file(path_, true);
  const HostKey two = *HostKey::from_file(folder_ / "other.key", true);
  const Bytes wrapped = *one.wrap(test_uuid(1), *make_device_key());
  EXPECT_FAILS(two.unwrap(test_uuid(1), wrapped), corrupt);
}

}  // namespace
}  // namespace vtpm::store
