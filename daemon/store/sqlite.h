// SPDX-License-Identifier: Apache-2.0
// Owners for the SQLite C API: connection, prepared statement, one run of a statement, transaction.
//
// Used by sqlite_store.cc alone. Threads: as the connection, one caller at a time.
// Source: https://www.sqlite.org/c3ref/intro.html
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace vtpm::store {

// What a SQLite result code means for the caller. `may_be_applied`: it came from a COMMIT, so that
// an I/O error leaves open whether the transaction is on the disk. Call it before anything else
// that may set errno.
[[nodiscard]] tl::unexpected<Error> fail_sqlite(int rc, std::string_view what,
                                                bool may_be_applied = false);

struct CloseDatabase {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;

// Runs SQL that takes no parameter and gives no row that matters.
Result<void> execute(sqlite3* db, const char* sql);
// The first column of the first row: a PRAGMA or a count.
Result<std::int64_t> query_integer(sqlite3* db, const char* sql);
Result<std::string> query_text(sqlite3* db, const char* sql);

class Statement {
 public:
  static Result<Statement> prepare(sqlite3* db, const char* sql);

 private:
  friend class Query;
  struct Finalize {
    void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
  };
  explicit Statement(sqlite3_stmt* s) : handle_(s) {}
  std::unique_ptr<sqlite3_stmt, Finalize> handle_;
};

// One run of a statement: binds the parameters in order; then step(). The bound memory must outlive
// the Query, which unbinds it and resets the statement at its end.
class Query {
 public:
  template <class... Values>
  explicit Query(const Statement& statement, const Values&... values)
      : stmt_(statement.handle_.get()) {
    (bind(values), ...);
  }
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;
  ~Query() {
    sqlite3_reset(stmt_);
    sqlite3_clear_bindings(stmt_);
  }

  // SQLITE_ROW, SQLITE_DONE, or the error of this step or of an earlier bind.
  int step();

  // Columns of the row that the last step() gave; views die with the next step().
  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] bool is_null(int column) const;
  [[nodiscard]] std::string text(int column) const;
  [[nodiscard]] ByteView blob(int column) const;

 private:
  void bind(std::int64_t value);
  void bind(const std::optional<std::int64_t>& value);  // NULL if there is none
  void bind(const std::string& value);
  void bind(ByteView value);
  void bound(int rc);
  sqlite3_stmt* stmt_;
  int next_ = 1;
  int bind_error_ = SQLITE_OK;
};

// BEGIN IMMEDIATE; rolled back at the end unless commit() succeeded.
class Transaction {
 public:
  static Result<Transaction> begin(sqlite3* db);
  Transaction(Transaction&& other) noexcept : db_(std::exchange(other.db_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

  // UNKNOWN_OUTCOME: perhaps on the disk. Every other error: certainly not applied.
  Result<void> commit();

 private:
  explicit Transaction(sqlite3* db) : db_(db) {}
  sqlite3* db_;
};

}  // namespace vtpm::store
