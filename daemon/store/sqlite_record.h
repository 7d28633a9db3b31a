// SPDX-License-Identifier: Apache-2.0
// From a row of the SQLite store to a Record, and whether what is stored is sound at all.
#pragma once

#include "store/sqlite.h"
#include "store/store.h"

namespace vtpm::store {

// A row of VTPM_SELECT_RECORD (sqlite_statements.h). CORRUPT: values that vtpmd never writes.
Result<Record> read_record(const Query& row);
// Every page of the file, and that each state has its device.
Result<void> check_pages(sqlite3* db);
[[nodiscard]] tl::unexpected<Error> damaged();

}  // namespace vtpm::store
