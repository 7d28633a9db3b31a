// SPDX-License-Identifier: Apache-2.0
// The Store contract on SQLite: each call is one transaction, or one statement, which is the same.
#include <fmt/format.h>

#include <limits>
#include <utility>

#include "store/checks.h"
#include "store/sqlite.h"
#include "store/sqlite_schema.h"
#include "store/store.h"

namespace vtpm::store {
namespace {

// The columns that read_record() takes.
#define VTPM_SELECT_RECORD                                                                     \
  "SELECT uuid, name, owner, kind, mode, node, socket_path, linux_hmac, command_timeout_ms, "  \
  "detach_timeout_ms, manager, d.epoch, d.generation, wrapped_key, powered, failure, s.epoch," \
  " s.generation, s.sealed FROM device d LEFT JOIN state s ON s.device = d.id"
// The compare of compare-and-swap: parameters 1 to 4 of every statement that changes a record.
#define VTPM_IF_UNCHANGED " WHERE uuid = ?1 AND manager = ?2 AND epoch = ?3 AND generation = ?4"

enum class Sql : std::uint8_t {
  get,
  find,
  list,
  is_buried,
  insert,
  acquire,
  commit,
  put_state,
  drop_state,
  set_powered,
  set_failure,
  release,
  remove,
  bury,
  integrity,
  foreign_keys,
  empty_log,
  count
};

constexpr const char* text_of(Sql sql) {
  switch (sql) {
    case Sql::get: return VTPM_SELECT_RECORD " WHERE uuid = ?1";
    case Sql::find: return "SELECT uuid FROM device WHERE name = ?1";
    case Sql::list: return VTPM_SELECT_RECORD " WHERE name > ?1 ORDER BY name LIMIT ?2";
    case Sql::is_buried: return "SELECT uuid FROM tombstone WHERE uuid = ?1";
    case Sql::insert:
      return "INSERT INTO device (uuid, name, owner, kind, mode, node, socket_path, linux_hmac, "
             "command_timeout_ms, detach_timeout_ms, manager, epoch, generation, wrapped_key, "
             "powered, failure) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16)";
    case Sql::acquire: return "UPDATE device SET manager = ?5, epoch = epoch + 1" VTPM_IF_UNCHANGED;
    case Sql::commit:
      return "UPDATE device SET generation = generation + 1, "
             "wrapped_key = iif(length(?5) > 0, ?5, wrapped_key)" VTPM_IF_UNCHANGED;
    case Sql::put_state:
      return "INSERT INTO state (device, epoch, generation, sealed) "
             "SELECT id, ?2, ?3, ?4 FROM device WHERE uuid = ?1 "
             "ON CONFLICT (device) DO UPDATE SET epoch = ?2, generation = ?3, sealed = ?4";
    case Sql::drop_state:
      return "DELETE FROM state WHERE device = (SELECT id FROM device WHERE uuid = ?1)";
    case Sql::set_powered: return "UPDATE device SET powered = ?5" VTPM_IF_UNCHANGED;
    case Sql::set_failure: return "UPDATE device SET failure = ?5" VTPM_IF_UNCHANGED;
    case Sql::release: return "UPDATE device SET manager = ''" VTPM_IF_UNCHANGED;
    case Sql::remove: return "DELETE FROM device" VTPM_IF_UNCHANGED;
    case Sql::bury: return "INSERT INTO tombstone (uuid) VALUES (?1)";
    case Sql::integrity: return "PRAGMA integrity_check(1)";
    case Sql::foreign_keys: return "PRAGMA foreign_key_check";
    case Sql::empty_log: return "PRAGMA wal_checkpoint(TRUNCATE)";
    case Sql::count: break;
  }
  return "";
}

tl::unexpected<Error> damaged() {
  return fail(ErrorCode::corrupt, "store: a record holds values that vtpmd never writes",
              "restore the store from a backup");
}

std::int64_t to_column(std::uint64_t v) { return static_cast<std::int64_t>(v); }

// Narrows a column; what does not fit marks the whole record as damaged.
template <class T>
T number(const Query& row, int column, bool& ok) {
  const std::int64_t v = row.integer(column);
  if (!std::in_range<T>(v)) ok = false;
  return static_cast<T>(v);
}

Result<Record> read_record(const Query& row) {
  Record r;
  bool ok = true;
  const ByteView uuid = row.blob(0);
  if (uuid.size() != r.uuid.bytes.size()) return damaged();
  std::ranges::copy(uuid, r.uuid.bytes.begin());
  r.settings.name = row.text(1);
  r.settings.owner = row.text(2);
  r.settings.kind = number<std::uint8_t>(row, 3, ok);
  r.settings.mode = number<std::uint8_t>(row, 4, ok);
  r.settings.node = number<std::uint8_t>(row, 5, ok);
  r.settings.socket_path = row.text(6);
  r.settings.linux_hmac = row.integer(7) != 0;
  r.settings.command_timeout_ms = number<std::uint32_t>(row, 8, ok);
  r.settings.detach_timeout_ms = number<std::uint32_t>(row, 9, ok);
  r.version.owner = row.text(10);
  r.version.epoch = number<std::uint64_t>(row, 11, ok);
  r.version.generation = number<std::uint64_t>(row, 12, ok);
  r.wrapped_key = to_bytes(row.blob(13));
  r.powered = row.integer(14) != 0;
  r.failure = row.text(15);
  r.state.epoch = number<std::uint64_t>(row, 16, ok);
  r.state.generation = number<std::uint64_t>(row, 17, ok);
  r.state.bytes = to_bytes(row.blob(18));
  if (!ok || !check_record(r)) return damaged();
  return r;
}

// Per-record answers of a batch: they say nothing about the other records or the file.
bool is_answer(ErrorCode code) {
  return code == ErrorCode::conflict || code == ErrorCode::not_found;
}

class SqliteStore final : public Store {
 public:
  SqliteStore(OpenStore file, std::vector<Statement> statements)
      : file_(std::move(file)), statements_(std::move(statements)) {}
  static Result<std::unique_ptr<Store>> open(const std::string& path);

  Result<void> create(const Record& record) override;
  Result<Record> get(const Uuid& uuid) override;
  Result<std::optional<Uuid>> find(const std::string& name) override;
  Result<std::vector<Record>> list(const std::string& after, std::size_t limit) override;
  Result<Version> acquire(const Uuid& uuid, const Version& expected,
                          const std::string& new_owner) override;
  Result<Version> commit(const Uuid& uuid, const Version& expected, const SealedBlob& state,
                         ByteView wrapped_key) override;
  std::vector<Result<Version>> commit_all(const std::vector<CommitRequest>& requests) override;
  Result<void> set_powered(const Uuid& uuid, const Version& expected, bool powered) override;
  Result<void> set_failure(const Uuid& uuid, const Version& expected,
                           const std::string& reason) override;
  Result<Version> release(const Uuid& uuid, const Version& expected) override;
  Result<void> remove(const Uuid& uuid, const Version& expected) override;
  Result<void> check() override;
  [[nodiscard]] std::string description() const override {
    return std::string("SQLite ") + ::sqlite3_libversion();
  }

 private:
  // A run of `sql` with its parameters bound. They must outlive it.
  template <class... Values>
  Query query(Sql sql, const Values&... values) {
    return Query(statements_[static_cast<std::size_t>(sql)], values...);
  }
  // Runs what gives no rows, outside or inside a transaction.
  template <class... Values>
  Result<void> run(Sql sql, const Values&... values);
  // Runs a statement that ends in VTPM_IF_UNCHANGED; `more` are its parameters from 5 on. The
  // caller has begun a transaction.
  template <class... More>
  Result<void> swap(Sql sql, const Uuid& uuid, const Version& expected, const More&... more);
  // The same as a transaction of its own.
  template <class... More>
  Result<void> swap_alone(Sql sql, const Uuid& uuid, const Version& expected, const More&... more);
  tl::unexpected<Error> why_unchanged(const Uuid& uuid);
  Result<void> put_state(const Uuid& uuid, const SealedBlob& state);
  Result<Version> commit_one(const CommitRequest& request);
  Result<void> commit_batch(const std::vector<CommitRequest>& requests,
                            std::vector<Result<Version>>& results);
  static tl::unexpected<Error> failed(int rc) { return fail_sqlite(rc, "store"); }

  OpenStore file_;
  std::vector<Statement> statements_;  // by Sql; after file_, so finalized before it closes
};

Result<std::unique_ptr<Store>> SqliteStore::open(const std::string& path) {
  VTPM_TRY(OpenStore file, open_store_file(path));
  std::vector<Statement> statements;
  for (std::size_t i = 0; i < static_cast<std::size_t>(Sql::count); i++) {
    VTPM_TRY(Statement statement, Statement::prepare(file.db.get(), text_of(static_cast<Sql>(i))));
    statements.push_back(std::move(statement));
  }
  return std::make_unique<SqliteStore>(std::move(file), std::move(statements));
}

template <class... Values>
Result<void> SqliteStore::run(Sql sql, const Values&... values) {
  Query q = query(sql, values...);
  if (const int rc = q.step(); rc != SQLITE_DONE) return failed(rc);
  return {};
}

template <class... More>
Result<void> SqliteStore::swap(Sql sql, const Uuid& uuid, const Version& expected,
                               const More&... more) {
  VTPM_CHECK(run(sql, ByteView(uuid.bytes), expected.owner, to_column(expected.epoch),
                 to_column(expected.generation), more...));
  if (sqlite3_changes64(file_.db.get()) == 0) return why_unchanged(uuid);
  return {};
}

template <class... More>
Result<void> SqliteStore::swap_alone(Sql sql, const Uuid& uuid, const Version& expected,
                                     const More&... more) {
  VTPM_CHECK(check_expected(expected));
  VTPM_TRY(Transaction transaction, Transaction::begin(file_.db.get()));
  VTPM_CHECK(swap(sql, uuid, expected, more...));
  return transaction.commit();
}

tl::unexpected<Error> SqliteStore::why_unchanged(const Uuid& uuid) {
  const auto record = get(uuid);
  if (!record) return tl::unexpected<Error>(record.error());
  const Version& now = record->version;
  return fail(ErrorCode::conflict,
              fmt::format("device {} has changed: it is at epoch {} generation {}, held by {}",
                          record->settings.name, now.epoch, now.generation,
                          now.owner.empty() ? "nobody" : now.owner),
              "read the record again");
}

Result<void> SqliteStore::put_state(const Uuid& uuid, const SealedBlob& state) {
  if (state.bytes.empty()) return run(Sql::drop_state, ByteView(uuid.bytes));
  return run(Sql::put_state, ByteView(uuid.bytes), to_column(state.epoch),
             to_column(state.generation), ByteView(state.bytes));
}

Result<void> SqliteStore::create(const Record& r) {
  VTPM_CHECK(check_record(r));
  VTPM_TRY(Transaction transaction, Transaction::begin(file_.db.get()));
  const ByteView uuid(r.uuid.bytes);
  for (const Sql sql : {Sql::get, Sql::is_buried}) {
    Query q = query(sql, uuid);
    const int rc = q.step();
    if (rc == SQLITE_ROW)
      return fail(ErrorCode::exists,
                  fmt::format("uuid {} {}", r.uuid.to_string(),
                              sql == Sql::get ? "is taken" : "belonged to a removed device"),
                  "use a new uuid");
    if (rc != SQLITE_DONE) return failed(rc);
  }
  VTPM_TRY(const auto namesake, find(r.settings.name));
  if (namesake)
    return fail(ErrorCode::exists, fmt::format("name {} is taken", r.settings.name),
                "use another name, or remove the device that has it");
  const Settings& s = r.settings;
  const auto integer = [](auto v) { return static_cast<std::int64_t>(v); };
  VTPM_CHECK(run(Sql::insert, uuid, s.name, s.owner, integer(s.kind), integer(s.mode),
                 integer(s.node), s.socket_path, integer(s.linux_hmac),
                 integer(s.command_timeout_ms), integer(s.detach_timeout_ms), r.version.owner,
                 to_column(r.version.epoch), to_column(r.version.generation),
                 ByteView(r.wrapped_key), integer(r.powered), r.failure));
  VTPM_CHECK(put_state(r.uuid, r.state));
  return transaction.commit();
}

Result<Record> SqliteStore::get(const Uuid& uuid) {
  Query q = query(Sql::get, ByteView(uuid.bytes));
  const int rc = q.step();
  if (rc == SQLITE_DONE)
    return fail(ErrorCode::not_found, fmt::format("there is no device {}", uuid.to_string()));
  if (rc != SQLITE_ROW) return failed(rc);
  return read_record(q);
}

Result<std::optional<Uuid>> SqliteStore::find(const std::string& name) {
  Query q = query(Sql::find, name);
  const int rc = q.step();
  if (rc == SQLITE_DONE) return std::nullopt;
  if (rc != SQLITE_ROW) return failed(rc);
  Uuid uuid;
  const ByteView column = q.blob(0);
  if (column.size() != uuid.bytes.size()) return damaged();
  std::ranges::copy(column, uuid.bytes.begin());
  return uuid;
}

Result<std::vector<Record>> SqliteStore::list(const std::string& after, std::size_t limit) {
  std::vector<Record> records;
  const auto rows =
      std::int64_t{std::in_range<std::int32_t>(limit) ? static_cast<std::int32_t>(limit)
                                                      : std::numeric_limits<std::int32_t>::max()};
  Query q = query(Sql::list, after, rows);
  int rc = SQLITE_OK;
  while ((rc = q.step()) == SQLITE_ROW) {
    VTPM_TRY(Record record, read_record(q));
    records.push_back(std::move(record));
  }
  if (rc != SQLITE_DONE) return failed(rc);
  return records;
}

Result<Version> SqliteStore::acquire(const Uuid& uuid, const Version& expected,
                                     const std::string& new_owner) {
  VTPM_CHECK(check_text(new_owner, "id of the manager"));
  if (new_owner.empty())
    return fail(ErrorCode::invalid_argument, "a manager without an id cannot take a device");
  VTPM_CHECK(swap_alone(Sql::acquire, uuid, expected, new_owner));
  return Version{new_owner, expected.epoch + 1, expected.generation};
}

Result<Version> SqliteStore::commit(const Uuid& uuid, const Version& expected,
                                    const SealedBlob& state, ByteView wrapped_key) {
  return std::move(commit_all({{uuid, expected, state, to_bytes(wrapped_key)}}).front());
}

std::vector<Result<Version>> SqliteStore::commit_all(const std::vector<CommitRequest>& requests) {
  std::vector<Result<Version>> results;
  const auto batch = commit_batch(requests, results);
  if (batch) return results;
  // One damaged record must not stop its neighbours: nothing is applied yet, so each goes alone.
  if (batch.error().code == ErrorCode::corrupt && requests.size() > 1) {
    results.clear();
    for (const CommitRequest& request : requests)
      results.push_back(std::move(commit_all({request}).front()));
    return results;
  }
  // What failed by itself keeps its own reason.
  for (auto& result : results)
    if (result) result = tl::unexpected<Error>(batch.error());
  results.resize(requests.size(), tl::unexpected<Error>(batch.error()));
  return results;
}

// Applies all requests or, on an error, none. `results` has one for each request that was tried.
Result<void> SqliteStore::commit_batch(const std::vector<CommitRequest>& requests,
                                       std::vector<Result<Version>>& results) {
  if (requests.empty()) return {};
  VTPM_TRY(Transaction transaction, Transaction::begin(file_.db.get()));
  bool changed = false;
  for (const CommitRequest& request : requests) {
    if (const auto valid = check_commit(request); !valid) {
      results.push_back(tl::unexpected<Error>(valid.error()));
      continue;
    }
    results.push_back(commit_one(request));
    if (!results.back() && !is_answer(results.back().error().code))
      return tl::unexpected<Error>(results.back().error());
    changed = changed || results.back().has_value();
  }
  if (changed) return transaction.commit();
  return {};
}

Result<Version> SqliteStore::commit_one(const CommitRequest& request) {
  VTPM_CHECK(swap(Sql::commit, request.uuid, request.expected, ByteView(request.wrapped_key)));
  VTPM_CHECK(put_state(request.uuid, request.state));
  return Version{request.expected.owner, request.expected.epoch, request.expected.generation + 1};
}

Result<void> SqliteStore::set_powered(const Uuid& uuid, const Version& expected, bool powered) {
  return swap_alone(Sql::set_powered, uuid, expected, std::int64_t{powered});
}

Result<void> SqliteStore::set_failure(const Uuid& uuid, const Version& expected,
                                      const std::string& reason) {
  VTPM_CHECK(check_text(reason, "reason of the failure"));
  return swap_alone(Sql::set_failure, uuid, expected, reason);
}

Result<Version> SqliteStore::release(const Uuid& uuid, const Version& expected) {
  VTPM_CHECK(swap_alone(Sql::release, uuid, expected));
  return Version{"", expected.epoch, expected.generation};
}

Result<void> SqliteStore::remove(const Uuid& uuid, const Version& expected) {
  VTPM_CHECK(check_expected(expected));
  {
    VTPM_TRY(Transaction transaction, Transaction::begin(file_.db.get()));
    VTPM_CHECK(swap(Sql::remove, uuid, expected));
    VTPM_CHECK(run(Sql::bury, ByteView(uuid.bytes)));
    VTPM_CHECK(transaction.commit());
  }
  // The log still holds the record; the file is overwritten by secure_delete. Removed it is either
  // way, so a failure here is not the caller's.
  (void)query(Sql::empty_log).step();
  return {};
}

Result<void> SqliteStore::check() {
  {
    Query q = query(Sql::integrity);
    const int rc = q.step();
    if (rc != SQLITE_ROW) return failed(rc);
    if (const std::string verdict = q.text(0); verdict != "ok")
      return fail(ErrorCode::corrupt, fmt::format("store: {}", verdict),
                  "restore the store from a backup");
  }
  {
    Query q = query(Sql::foreign_keys);
    const int rc = q.step();
    if (rc == SQLITE_ROW) return damaged();
    if (rc != SQLITE_DONE) return failed(rc);
  }
  static constexpr std::size_t kPage = 64;
  std::string after;
  while (true) {
    VTPM_TRY(const auto records, list(after, kPage));
    if (records.size() < kPage) return {};
    after = records.back().settings.name;
  }
}

}  // namespace

Result<std::unique_ptr<Store>> open_sqlite(const std::string& path) {
  return SqliteStore::open(path);
}

}  // namespace vtpm::store
