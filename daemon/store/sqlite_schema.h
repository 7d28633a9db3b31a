// SPDX-License-Identifier: Apache-2.0
// The tables of the SQLite store, and the settings of a connection to it.
#pragma once

#include <string>

#include "base/unique_fd.h"
#include "store/sqlite.h"

namespace vtpm::store {

struct OpenStore {
  UniqueFd lock;  // flock: one process at a time; declared first, so given up last
  Database db;
};

// Makes folder, files and tables where they are missing; errors as open_sqlite() in store.h.
Result<OpenStore> open_store_file(const std::string& path);

// A connection that only reads, beside the one that holds the lock. Makes nothing.
Result<Database> open_store_to_read(const std::string& path);

}  // namespace vtpm::store
