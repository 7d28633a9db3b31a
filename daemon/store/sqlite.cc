// SPDX-License-Identifier: Apache-2.0
#include "store/sqlite.h"

#include <fmt/format.h>

#include <cerrno>

namespace vtpm::store {
namespace {

// Errors of write(2) that mean "no room" rather than "broken". SQLite itself translates ENOSPC
// only.
bool means_no_room(int errnum) { return errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG; }

}  // namespace

tl::unexpected<Error> fail_sqlite(int rc, std::string_view what, bool may_be_applied) {
  // Still that of the call that failed; sqlite3_system_errno() is not set for a failed COMMIT.
  const int errnum = (rc & 0xff) == SQLITE_IOERR ? errno : 0;
  // The text for the code, not sqlite3_errmsg(): that one may quote values.
  const std::string text = fmt::format("{}: {}", what, sqlite3_errstr(rc));
  switch (rc & 0xff) {
    // The frame that makes a transaction count is the last one written to the log, and these two
    // codes come from writing frames (not from syncing them): it is not, or not wholly, there.
    case SQLITE_FULL:
      return fail(ErrorCode::full, text, "make room on the file system of the store");
    case SQLITE_IOERR:
      if (rc == SQLITE_IOERR_WRITE && means_no_room(errnum))
        return fail(ErrorCode::full, text, "make room on the file system of the store");
      if (rc == SQLITE_IOERR_CORRUPTFS || rc == SQLITE_IOERR_DATA)
        return fail(ErrorCode::corrupt, text, "restore the store from a backup");
      break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return fail(ErrorCode::corrupt, text, "restore the store from a backup");
    case SQLITE_TOOBIG: return fail(ErrorCode::too_large, text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return fail(ErrorCode::unavailable, text, "another program holds the store's file open");
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      return fail(ErrorCode::unavailable, text, "check the rights and mount of the store's folder");
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_ERROR: return fail(ErrorCode::internal, text);
    default: break;
  }
  return fail(may_be_applied ? ErrorCode::unknown_outcome : ErrorCode::unavailable,
              errnum != 0 ? fmt::format("{} (errno {})", text, errnum) : text,
              may_be_applied ? "read the record again before you retry" : "");
}

Result<void> execute(sqlite3* db, const char* sql) {
  const int rc = sqlite3_exec(db, sql, nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) return fail_sqlite(rc, "store");
  return {};
}

Result<std::int64_t> query_integer(sqlite3* db, const char* sql) {
  VTPM_TRY(const Statement statement, Statement::prepare(db, sql));
  Query query(statement);
  if (const int rc = query.step(); rc != SQLITE_ROW) return fail_sqlite(rc, "store");
  return query.integer(0);
}

Result<std::string> query_text(sqlite3* db, const char* sql) {
  VTPM_TRY(const Statement statement, Statement::prepare(db, sql));
  Query query(statement);
  if (const int rc = query.step(); rc != SQLITE_ROW) return fail_sqlite(rc, "store");
  return query.text(0);
}

Result<Statement> Statement::prepare(sqlite3* db, const char* sql) {
  sqlite3_stmt* raw = nullptr;
  const int rc = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  Statement statement(raw);
  if (rc == SQLITE_ERROR)  // a table or column is missing
    return fail(ErrorCode::corrupt, "store: its tables are not those of a store of vtpmd",
                "restore the store from a backup");
  if (rc != SQLITE_OK) return fail_sqlite(rc, "store");
  return statement;
}

void Query::bound(int rc) {
  if (rc != SQLITE_OK && bind_error_ == SQLITE_OK) bind_error_ = rc;
  next_++;
}
void Query::bind(std::int64_t value) { bound(sqlite3_bind_int64(stmt_, next_, value)); }
void Query::bind(const std::optional<std::int64_t>& value) {
  value ? bind(*value) : bound(sqlite3_bind_null(stmt_, next_));
}
void Query::bind(const std::string& value) {
  bound(sqlite3_bind_text64(stmt_, next_, value.data(), value.size(), SQLITE_STATIC, SQLITE_UTF8));
}
void Query::bind(ByteView value) {
  // A null pointer would bind NULL.
  if (value.empty()) return bound(sqlite3_bind_zeroblob(stmt_, next_, 0));
  bound(sqlite3_bind_blob64(stmt_, next_, value.data(), value.size(), SQLITE_STATIC));
}

int Query::step() { return bind_error_ != SQLITE_OK ? bind_error_ : sqlite3_step(stmt_); }

std::int64_t Query::integer(int column) const { return sqlite3_column_int64(stmt_, column); }
bool Query::is_null(int column) const { return sqlite3_column_type(stmt_, column) == SQLITE_NULL; }
std::string Query::text(int column) const {
  const ByteView bytes = blob(column);
  return std::string(as_text(bytes));
}
ByteView Query::blob(int column) const {
  const void* data = sqlite3_column_blob(stmt_, column);
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(stmt_, column));
  if (data == nullptr) return {};
  return {static_cast<const std::byte*>(data), size};
}

Result<Transaction> Transaction::begin(sqlite3* db) {
  VTPM_CHECK(execute(db, "BEGIN IMMEDIATE"));
  return Transaction(db);
}

Transaction::~Transaction() {
  // Some errors make SQLite roll back by itself; then there is nothing left to undo.
  if (db_ != nullptr && sqlite3_get_autocommit(db_) == 0)
    sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
}

Result<void> Transaction::commit() {
  const int rc = sqlite3_exec(db_, "COMMIT", nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) return fail_sqlite(rc, "store: commit", true);
  db_ = nullptr;
  return {};
}

}  // namespace vtpm::store
