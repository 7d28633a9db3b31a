// SPDX-License-Identifier: Apache-2.0
#include "device/parcel.h"

#include <gtest/gtest.h>

#include "identity/hpke.h"

namespace vtpm::device {
namespace {

class ParcelTest : public ::testing::Test {
 protected:
  ParcelTest() {
    parcel_.uuid.bytes.fill(std::byte{7});
    parcel_.settings.name = "web";
    parcel_.settings.owner = "shop";
    parcel_.settings.kind = 2;
    parcel_.settings.node = 2;
    parcel_.settings.linux_hmac = true;
    parcel_.settings.command_timeout_ms = 5;
    parcel_.settings.park_after_s = 0;
    parcel_.epoch = 9;
    parcel_.permanent = SecretBytes(3000, std::byte{1});
    parcel_.lineage = SecretBytes(100, std::byte{2});
  }
  static std::string outcome(const Result<Parcel>& opened) {
    return opened ? "opened" : std::string(to_string(opened.error().code));
  }
  const SecretBytes key_ = *identity::make_exchange_key();
  const Bytes recipient_ = *identity::exchange_public_key(key_);
  Parcel parcel_;
};

TEST_F(ParcelTest, ComesOutAsItWent) {
  const auto file = seal(parcel_, recipient_);
  ASSERT_TRUE(file) << file.error().message;
  const auto opened = open_parcel(*file, key_);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->uuid, parcel_.uuid);
  EXPECT_EQ(opened->settings, parcel_.settings);
  EXPECT_EQ(opened->epoch, 9U);
  EXPECT_EQ(opened->permanent, parcel_.permanent);
  EXPECT_EQ(opened->lineage, parcel_.lineage);
  EXPECT_TRUE(*is_for(*file, recipient_));
  parcel_.settings.park_after_s.reset();
  EXPECT_EQ(open_parcel(*seal(parcel_, recipient_), key_)->settings, parcel_.settings);
}

TEST_F(ParcelTest, IsForOneHostAndAsItWas) {
  const Bytes file = *seal(parcel_, recipient_);
  const SecretBytes other = *identity::make_exchange_key();
  EXPECT_EQ(outcome(open_parcel(file, other)), "failed precondition");
  EXPECT_FALSE(*is_for(file, *identity::exchange_public_key(other)));
  for (std::size_t i = 0; i < file.size(); i += i < 300 ? 7 : 301) {
    Bytes changed = file;
    changed[i] ^= std::byte{1};
    EXPECT_FALSE(open_parcel(changed, key_)) << i;
  }
  for (std::size_t size = 0; size < file.size(); size += 500)
    EXPECT_FALSE(open_parcel(ByteView(file).first(size), key_)) << size;
  EXPECT_EQ(outcome(open_parcel(Bytes(kLongestParcel + 1), key_)), "invalid argument");
  EXPECT_FALSE(is_for(as_bytes("none"), recipient_));
  parcel_.permanent.resize(kLongestParcel);
  EXPECT_FALSE(seal(parcel_, recipient_));
}

}  // namespace
}  // namespace vtpm::device
