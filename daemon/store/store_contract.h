// SPDX-License-Identifier: Apache-2.0
// Tests of the Store contract, for every implementation: include this in the implementation's own
// test and write
//
//   INSTANTIATE_TEST_SUITE_P(Sqlite, StoreContract, ::testing::Values(&make_sqlite_backing));
//
// The tests themselves are in store_contract_test.cc.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "store/store.h"

namespace vtpm::store {

// Where the records are: outlives the Store objects that are opened on it, one after the other.
class Backing {
 public:
  virtual ~Backing() = default;
  virtual Result<std::unique_ptr<Store>> open() = 0;
};
using BackingFactory = std::unique_ptr<Backing> (*)();

class StoreContract : public ::testing::TestWithParam<BackingFactory> {
 protected:
  void SetUp() override {
    backing_ = GetParam()();
    ASSERT_NE(backing_, nullptr);
    reopen();
  }
  // As a restart of vtpmd: what the next call sees has been durable.
  void reopen() {
    store_.reset();
    auto opened = backing_->open();
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    store_ = *std::move(opened);
  }
  Store& store() { return *store_; }

 private:
  std::unique_ptr<Backing> backing_;
  std::unique_ptr<Store> store_;
};

inline Uuid test_uuid(unsigned n) {
  Uuid uuid;
  uuid.bytes.fill(std::byte{0x5a});
  store_be32(uuid.bytes.data(), n);
  return uuid;
}

inline Record test_record(unsigned n) {
  Record r;
  r.uuid = test_uuid(n);
  r.settings.name = "device-" + std::to_string(n);
  return r;
}

// Bytes that say which epoch and generation they were "sealed" for.
inline SealedBlob test_blob(const Version& expected, std::size_t size = 64) {
  SealedBlob blob{Bytes(std::max<std::size_t>(size, 16)), expected.epoch, expected.generation + 1};
  for (std::size_t i = 0; i < blob.bytes.size(); i++)
    blob.bytes[i] = static_cast<std::byte>(blob.generation * 31 + i * 7);
  store_be64(blob.bytes.data(), blob.epoch);
  store_be64(blob.bytes.data() + 8, blob.generation);
  return blob;
}

inline void expect_same(const Record& a, const Record& b) {
  EXPECT_EQ(a.uuid, b.uuid);
  EXPECT_EQ(a.settings, b.settings);
  EXPECT_EQ(a.version, b.version);
  EXPECT_EQ(a.wrapped_key, b.wrapped_key);
  EXPECT_EQ(a.state, b.state);
  EXPECT_EQ(a.lineage, b.lineage);
  EXPECT_EQ(a.powered, b.powered);
  EXPECT_EQ(a.failure, b.failure);
  EXPECT_EQ(a.taken_us, b.taken_us);
  EXPECT_EQ(a.voucher, b.voucher);
}

template <class T>
std::optional<Error> error_of(const Result<T>& result) {
  if (result) return std::nullopt;
  return result.error();
}

}  // namespace vtpm::store

#define EXPECT_FAILS(expression, expected_code)                                \
  do {                                                                         \
    const auto vtpm_error = ::vtpm::store::error_of(expression);               \
    ASSERT_TRUE(vtpm_error.has_value()) << #expression << " succeeded";        \
    EXPECT_EQ(vtpm_error->code, ::vtpm::ErrorCode::expected_code)              \
        << ::vtpm::to_string(vtpm_error->code) << ": " << vtpm_error->message; \
  } while (0)
#define ASSERT_OK(expression)                                                           \
  do {                                                                                  \
    const auto vtpm_error = ::vtpm::store::error_of(expression);                        \
    ASSERT_FALSE(vtpm_error.has_value()) << #expression << ": " << vtpm_error->message; \
  } while (0)
