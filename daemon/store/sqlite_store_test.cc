// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "store/store_contract.h"
#include "store/temporary_folder.h"

namespace vtpm::store {
namespace {

class SqliteBacking final : public Backing {
 public:
  Result<std::unique_ptr<Store>> open() override { return open_sqlite(folder_ / "store.db"); }

 private:
  TemporaryFolder folder_;
};
std::unique_ptr<Backing> make_sqlite_backing() { return std::make_unique<SqliteBacking>(); }

INSTANTIATE_TEST_SUITE_P(Sqlite, StoreContract, ::testing::Values(&make_sqlite_backing));

}  // namespace
}  // namespace vtpm::store
