// SPDX-License-Identifier: Apache-2.0
#include "store/sqlite_schema.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <array>
#include <cerrno>

#include "store/private_file.h"

namespace vtpm::store {
namespace {

constexpr std::int64_t kApplicationId = 0x7674706d;  // "vtpm"
constexpr std::int64_t kSchemaVersion = 8;
constexpr int kBusyTimeoutMs = 2000;
constexpr int kLongestRow = 1024 * 1024;  // a value over it in the file is damage

// `state` apart from `device`: most writes of a record do not touch the blob. An emptied owner
// column means that no manager holds the device. Numbers in `device` repeat store.h.
constexpr const char* kTables = R"sql(
  CREATE TABLE device (
    id                 INTEGER PRIMARY KEY,
    uuid               BLOB    NOT NULL UNIQUE CHECK (length(uuid) = 16),
    name               TEXT    NOT NULL UNIQUE,
    owner              TEXT    NOT NULL,
    kind               INTEGER NOT NULL,
    mode               INTEGER NOT NULL,
    node               INTEGER NOT NULL,
    socket_path        TEXT    NOT NULL,
    linux_hmac         INTEGER NOT NULL,
    command_timeout_ms INTEGER NOT NULL,
    detach_timeout_ms  INTEGER NOT NULL,
    manager            TEXT    NOT NULL,
    epoch              INTEGER NOT NULL CHECK (epoch >= 0),
    generation         INTEGER NOT NULL CHECK (generation >= 0),
    wrapped_key        BLOB    NOT NULL,
    powered            INTEGER NOT NULL,
    failure            TEXT    NOT NULL,
    voucher            BLOB    NOT NULL DEFAULT x'',
    park_after_s       INTEGER,
    role               INTEGER NOT NULL DEFAULT 1,
    cert_profile       INTEGER NOT NULL DEFAULT 0,
    taken_us           INTEGER NOT NULL DEFAULT 0 CHECK (taken_us >= 0)
  ) STRICT;
  CREATE TABLE state (
    device     INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    epoch      INTEGER NOT NULL CHECK (epoch >= 0),
    generation INTEGER NOT NULL CHECK (generation >= 0),
    sealed     BLOB    NOT NULL
  ) STRICT;
  CREATE TABLE lineage (
    device INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    sealed BLOB    NOT NULL
  ) STRICT;
  CREATE TABLE tombstone (uuid BLOB PRIMARY KEY NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE note (id INTEGER PRIMARY KEY CHECK (id = 1), content BLOB NOT NULL) STRICT;
  CREATE TABLE withdrawn (number INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT;
)sql";

// From each version to the next one. Version 1 had no vouchers: its records come out with none, and
// whoever reads them has to say what that means. Version 2 had no time of its own for parking,
// version 3 no templates, version 4 no lineage, version 5 no profile of its own for certificates,
// version 6 no snapshots, version 7 nothing of devices that are gone.
constexpr std::array kUpgrades{
    R"sql(
      ALTER TABLE device ADD COLUMN voucher BLOB NOT NULL DEFAULT x'';
      CREATE TABLE note (id INTEGER PRIMARY KEY CHECK (id = 1), content BLOB NOT NULL) STRICT;
    )sql",
    "ALTER TABLE device ADD COLUMN park_after_s INTEGER",
    "ALTER TABLE device ADD COLUMN role INTEGER NOT NULL DEFAULT 1",
    R"sql(
      CREATE TABLE lineage (
        device INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
        sealed BLOB    NOT NULL
      ) STRICT
    )sql",
    "ALTER TABLE device ADD COLUMN cert_profile INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE device ADD COLUMN taken_us INTEGER NOT NULL DEFAULT 0 CHECK (taken_us >= 0)",
    "CREATE TABLE withdrawn (number INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT",
};
static_assert(kUpgrades.size() + 1 == kSchemaVersion);

Result<UniqueFd> lock_store(const std::string& path) {
  VTPM_TRY(UniqueFd fd, open_private_file(path + ".lock", O_RDWR | O_CREAT, "lock of the store"));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail_errno(fmt::format("cannot lock store {}", path), errno);
    std::array<char, 20> pid{};
    const ssize_t n = ::pread(fd.get(), pid.data(), pid.size(), 0);
    const std::string_view digits(pid.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
    const std::string_view holder = digits.substr(0, digits.find_first_not_of("0123456789"));
    return fail(ErrorCode::busy,
                fmt::format("store {} is open in another vtpmd{}{}", path,
                            holder.empty() ? "" : ", process ", holder),
                "stop the other one (systemctl stop vtpmd), or give this one a store of its own");
  }
  // For the message above only; a lock without a number is as good.
  const std::string pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(fd.get(), 0) == 0) {
    [[maybe_unused]] const ssize_t written = ::pwrite(fd.get(), pid.data(), pid.size(), 0);
  }
  return fd;
}

Result<void> configure(sqlite3* db) {
  sqlite3_busy_timeout(db, kBusyTimeoutMs);
  sqlite3_limit(db, SQLITE_LIMIT_LENGTH, kLongestRow);
  sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  VTPM_CHECK(execute(db, "PRAGMA cell_size_check = ON"));
  VTPM_CHECK(execute(db, "PRAGMA temp_store = MEMORY"));
  VTPM_CHECK(execute(db, "PRAGMA synchronous = FULL"));
  VTPM_CHECK(execute(db, "PRAGMA foreign_keys = ON"));
  VTPM_CHECK(execute(db, "PRAGMA secure_delete = ON"));
  VTPM_TRY(const auto synchronous, query_integer(db, "PRAGMA synchronous"));
  VTPM_TRY(const auto foreign_keys, query_integer(db, "PRAGMA foreign_keys"));
  VTPM_TRY(const auto secure_delete, query_integer(db, "PRAGMA secure_delete"));
  if (synchronous != 2 || foreign_keys != 1 || secure_delete != 1)
    return fail(ErrorCode::unsupported, "store: this build of SQLite refuses a setting we need");
  return {};
}

Result<void> make_tables(sqlite3* db) {
  VTPM_TRY(Transaction transaction, Transaction::begin(db));
  VTPM_CHECK(execute(db, kTables));
  VTPM_CHECK(execute(db, fmt::format("PRAGMA application_id = {}", kApplicationId).c_str()));
  VTPM_CHECK(execute(db, fmt::format("PRAGMA user_version = {}", kSchemaVersion).c_str()));
  return transaction.commit();
}

Result<void> upgrade(sqlite3* db, std::int64_t version) {
  VTPM_TRY(Transaction transaction, Transaction::begin(db));
  for (std::int64_t v = version; v < kSchemaVersion; v++) {
    const int rc =
        sqlite3_exec(db, kUpgrades.at(static_cast<std::size_t>(v - 1)), nullptr, nullptr, nullptr);
    if (rc == SQLITE_ERROR)  // a table is missing, or one of a later version is there
      return fail(ErrorCode::corrupt,
                  fmt::format("store: its tables are not those of schema version {}", v),
                  "restore the store from a backup");
    if (rc != SQLITE_OK) return fail_sqlite(rc, "store: upgrade");
  }
  VTPM_CHECK(execute(db, fmt::format("PRAGMA user_version = {}", kSchemaVersion).c_str()));
  return transaction.commit();
}

Result<void> check_schema(sqlite3* db, const std::string& path) {
  VTPM_TRY(const auto application, query_integer(db, "PRAGMA application_id"));
  VTPM_TRY(const auto version, query_integer(db, "PRAGMA user_version"));
  VTPM_TRY(const auto tables, query_integer(db, "SELECT count(*) FROM sqlite_schema"));
  if (application == 0 && version == 0 && tables == 0) return make_tables(db);
  if (application != kApplicationId)
    return fail(ErrorCode::corrupt,
                fmt::format("{} is a database of another program, not a store of vtpmd", path),
                "give the path of the store, or of a file that does not exist yet");
  if (version > kSchemaVersion)
    return fail(ErrorCode::unsupported,
                fmt::format("store {} has schema version {}, this vtpmd knows {}", path, version,
                            kSchemaVersion),
                "upgrade vtpmd, or restore the store from a backup of before the upgrade");
  if (version < 1)
    return fail(ErrorCode::corrupt, fmt::format("store {} has schema version {}", path, version),
                "restore the store from a backup");
  if (version < kSchemaVersion) return upgrade(db, version);
  return {};
}

}  // namespace

Result<OpenStore> open_store_file(const std::string& path) {
  if (path.find('\0') != std::string::npos)
    return fail(ErrorCode::invalid_argument, "the path of the store holds a NUL character");
  const std::string name = path.substr(path.find_last_of('/') + 1);  // npos + 1 = 0
  if (name.empty())
    return fail(ErrorCode::invalid_argument, fmt::format("{} does not name a file", path));
  VTPM_TRY(const std::string folder, make_private_folder(folder_of(path)));
  const std::string file = folder + "/" + name;
  OpenStore store;
  VTPM_TRY(store.lock, lock_store(file));
  {
    // SQLite would make the file with the umask's mode.
    VTPM_TRY(const UniqueFd made, open_private_file(file, O_RDWR | O_CREAT, "store"));
    VTPM_CHECK(sync_folder(folder));
  }
  sqlite3* raw = nullptr;
  const int rc = sqlite3_open_v2(
      file.c_str(), &raw,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE,
      nullptr);
  store.db.reset(raw);
  if (rc != SQLITE_OK) return fail_sqlite(rc, fmt::format("cannot open store {}", path));
  VTPM_CHECK(configure(raw));
  VTPM_CHECK(check_schema(raw, path));
  VTPM_TRY(const std::string journal_mode, query_text(raw, "PRAGMA journal_mode = WAL"));
  if (journal_mode != "wal")
    return fail(ErrorCode::unsupported,
                fmt::format("store {}: the file system cannot hold a write-ahead log", path),
                "put the store on a local file system");
  return store;
}

Result<Database> open_store_to_read(const std::string& path) {
  sqlite3* raw = nullptr;
  const int rc = sqlite3_open_v2(
      path.c_str(), &raw,
      SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE,
      nullptr);
  Database db(raw);
  if (rc != SQLITE_OK) return fail_sqlite(rc, fmt::format("cannot open store {}", path));
  sqlite3_busy_timeout(raw, kBusyTimeoutMs);
  sqlite3_limit(raw, SQLITE_LIMIT_LENGTH, kLongestRow);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  VTPM_CHECK(execute(raw, "PRAGMA query_only = ON"));
  VTPM_CHECK(execute(raw, "PRAGMA cell_size_check = ON"));
  return db;
}

}  // namespace vtpm::store
