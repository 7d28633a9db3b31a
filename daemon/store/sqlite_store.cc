// SPDX-License-Identifier: Apache-2.0
// The Store contract on SQLite: each call is one transaction, or one statement, which is the same.
#include <fmt/format.h>

#include <limits>
#include <utility>

#include "store/checks.h"
#include "store/sqlite.h"
#include "store/sqlite_record.h"
#include "store/sqlite_schema.h"
#include "store/sqlite_statements.h"
#include "store/store.h"

namespace vtpm::store {
namespace {

std::int64_t to_column(std::uint64_t v) { return static_cast<std::int64_t>(v); }

std::optional<std::int64_t> park_after_column(const Settings& settings) {
  if (!settings.park_after_s) return std::nullopt;
  return *settings.park_after_s;
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
  Result<std::vector<Entry>> list(const std::string& after, std::size_t limit) override;
  Result<Version> acquire(const Uuid& uuid, const Version& expected, const std::string& new_owner,
                          ByteView voucher) override;
  Result<Version> commit(const Uuid& uuid, const Version& expected, const SealedBlob& state,
                         ByteView wrapped_key, ByteView voucher, std::uint8_t mode) override;
  std::vector<Result<Version>> commit_all(const std::vector<CommitRequest>& requests) override;
  Result<void> set_powered(const Uuid& uuid, const Version& expected, bool powered,
                           ByteView voucher) override;
  Result<void> set_failure(const Uuid& uuid, const Version& expected, const std::string& reason,
                           ByteView voucher) override;
  Result<void> set_settings(const Uuid& uuid, const Version& expected, const Settings& settings,
                            ByteView voucher) override;
  Result<Version> release(const Uuid& uuid, const Version& expected, ByteView voucher) override;
  Result<void> succeed(const Succession& succession) override;
  Result<void> remove(const Uuid& uuid, const Version& expected,
                      const Withdrawn& withdrawn) override;
  Result<void> discard(const Uuid& uuid) override;
  Result<std::vector<Withdrawn>> withdrawn() override;
  Result<std::uint64_t> last_withdrawn() override;
  Result<Bytes> note() override;
  Result<void> revise(const std::vector<Revision>& revisions, ByteView note) override;
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
  // Parts of a transaction of the caller's.
  Result<void> insert(const Record& record);
  Result<void> take_out(const Uuid& uuid, const Version& expected);
  Result<void> put_state(const Uuid& uuid, const SealedBlob& state);
  Result<void> put_lineage(const Uuid& uuid, ByteView lineage);
  Result<void> keep(const Withdrawn& withdrawn);
  Result<Version> commit_one(const CommitRequest& request);
  Result<void> commit_batch(const std::vector<CommitRequest>& requests,
                            std::vector<Result<Version>>& results);
  // What was deleted or replaced is overwritten in the file by secure_delete; the log still has it.
  // Gone from the records it is either way, so a failure here is not the caller's.
  void empty_log() { (void)query(Sql::empty_log).step(); }
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

Result<void> SqliteStore::put_lineage(const Uuid& uuid, ByteView lineage) {
  if (lineage.empty()) return {};
  return run(Sql::put_lineage, ByteView(uuid.bytes), lineage);
}

Result<void> SqliteStore::create(const Record& r) {
  VTPM_CHECK(check_record(r));
  VTPM_TRY(Transaction transaction, Transaction::begin(file_.db.get()));
  VTPM_CHECK(insert(r));
  return transaction.commit();
}

Result<void> SqliteStore::insert(const Record& r) {
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
                 ByteView(r.wrapped_key), integer(r.powered), r.failure, ByteView(r.voucher),
                 park_after_column(s), integer(s.role), integer(s.cert_profile),
                 to_column(r.taken_us)));
  VTPM_CHECK(put_state(r.uuid, r.state));
  return put_lineage(r.uuid, r.lineage);
}

Result<Record> SqliteStore::get(const Uuid& uuid) {
  Query q = query(Sql::get, ByteView(uuid.bytes));
  const int rc = q.step();
  if (rc == SQLITE_DONE)
    return fail(ErrorCode::not_found, fmt::format("there is no device {}", uuid.to_string()));
  if (rc == SQLITE_TOOBIG) return damaged();
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

Result<std::vector<Store::Entry>> SqliteStore::list(const std::string& after, std::size_t limit) {
  std::vector<Entry> entries;
  const auto rows =
      std::int64_t{std::in_range<std::int32_t>(limit) ? static_cast<std::int32_t>(limit)
                                                      : std::numeric_limits<std::int32_t>::max()};
  {
    Query q = query(Sql::list, after, rows);
    int rc = SQLITE_OK;
    while ((rc = q.step()) == SQLITE_ROW) {
      Entry entry{.uuid = {}, .name = q.text(1), .record = damaged()};
      if (const ByteView uuid = q.blob(0); uuid.size() == entry.uuid.bytes.size())
        std::ranges::copy(uuid, entry.uuid.bytes.begin());
      entries.push_back(std::move(entry));
    }
    if (rc != SQLITE_DONE) return failed(rc);
  }
  for (Entry& entry : entries) {
    if (entry.uuid.is_nil()) continue;
    entry.record = get(entry.uuid);
    const bool answer = entry.record || entry.record.error().code == ErrorCode::corrupt;
    if (!answer) return tl::unexpected<Error>(entry.record.error());
  }
  return entries;
}

Result<Version> SqliteStore::acquire(const Uuid& uuid, const Version& expected,
                                     const std::string& new_owner, ByteView voucher) {
  VTPM_CHECK(check_text(new_owner, "id of the manager"));
  VTPM_CHECK(check_voucher(voucher));
  if (new_owner.empty())
    return fail(ErrorCode::invalid_argument, "a manager without an id cannot take a device");
  VTPM_CHECK(swap_alone(Sql::acquire, uuid, expected, new_owner, voucher));
  return Version{new_owner, expected.epoch + 1, expected.generation};
}

Result<Version> SqliteStore::commit(const Uuid& uuid, const Version& expected,
                                    const SealedBlob& state, ByteView wrapped_key, ByteView voucher,
                                    std::uint8_t mode) {
  return std::move(
      commit_all({{uuid, expected, state, to_bytes(wrapped_key), to_bytes(voucher), mode, {}}})
          .front());
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
  bool wiped = false;
  for (const CommitRequest& request : requests) {
    if (const auto valid = check_commit(request); !valid) {
      results.push_back(tl::unexpected<Error>(valid.error()));
      continue;
    }
    results.push_back(commit_one(request));
    if (!results.back() && !is_answer(results.back().error().code))
      return tl::unexpected<Error>(results.back().error());
    changed = changed || results.back().has_value();
    wiped = wiped || (results.back().has_value() && request.state.bytes.empty());
  }
  if (!changed) return {};
  VTPM_CHECK(transaction.commit());
  if (wiped) empty_log();
  return {};
}

Result<void> SqliteStore::keep(const Withdrawn& withdrawn) {
  if (withdrawn.number == 0) return {};
  return run(Sql::withdraw, to_column(withdrawn.number), ByteView(withdrawn.content));
}

Result<Version> SqliteStore::commit_one(const CommitRequest& request) {
  VTPM_CHECK(swap(Sql::commit, request.uuid, request.expected, ByteView(request.wrapped_key),
                  ByteView(request.voucher), std::int64_t{request.mode},
                  std::int64_t{request.state.bytes.empty()},
                  request.role ? static_cast<std::int64_t>(*request.role) : std::int64_t{0}));
  VTPM_CHECK(put_state(request.uuid, request.state));
  VTPM_CHECK(request.state.bytes.empty() ? run(Sql::drop_lineage, ByteView(request.uuid.bytes))
                                         : put_lineage(request.uuid, request.lineage));
  VTPM_CHECK(keep(request.withdrawn));
  return Version{request.expected.owner, request.expected.epoch, request.expected.generation + 1};
}

Result<void> SqliteStore::set_powered(const Uuid& uuid, const Version& expected, bool powered,
                                      ByteView voucher) {
  VTPM_CHECK(check_voucher(voucher));
  return swap_alone(Sql::set_powered, uuid, expected, std::int64_t{powered}, voucher);
}

Result<void> SqliteStore::set_failure(const Uuid& uuid, const Version& expected,
                                      const std::string& reason, ByteView voucher) {
  VTPM_CHECK(check_text(reason, "reason of the failure"));
  VTPM_CHECK(check_voucher(voucher));
  return swap_alone(Sql::set_failure, uuid, expected, reason, voucher);
}

Result<void> SqliteStore::set_settings(const Uuid& uuid, const Version& expected,
                                       const Settings& settings, ByteView voucher) {
  VTPM_CHECK(check_text(settings.owner, "owner"));
  VTPM_CHECK(check_voucher(voucher));
  return swap_alone(Sql::set_settings, uuid, expected, settings.owner, park_after_column(settings),
                    std::int64_t{settings.cert_profile}, voucher);
}

Result<Version> SqliteStore::release(const Uuid& uuid, const Version& expected, ByteView voucher) {
  VTPM_CHECK(check_voucher(voucher));
  VTPM_CHECK(swap_alone(Sql::release, uuid, expected, voucher));
  return Version{"", expected.epoch, expected.generation};
}

Result<void> SqliteStore::succeed(const Succession& s) {
  VTPM_CHECK(check_succession(s));
  {
    VTPM_TRY(Transaction transaction, Transaction::begin(file_.db.get()));
    VTPM_TRY(const auto namesake, find(s.retired_name));
    if (namesake) return fail(ErrorCode::exists, fmt::format("name {} is taken", s.retired_name));
    VTPM_CHECK(swap(Sql::retire, s.retired, s.expected, s.retired_name,
                    static_cast<std::int64_t>(Role::retired), ByteView(s.wrapped_key),
                    ByteView(s.voucher)));
    VTPM_CHECK(put_state(s.retired, {}));
    VTPM_CHECK(put_lineage(s.retired, s.lineage));
    VTPM_CHECK(insert(s.successor));
    for (const auto& [uuid, version] : s.gone) VTPM_CHECK(take_out(uuid, version));
    VTPM_CHECK(transaction.commit());
  }
  empty_log();
  return {};
}

Result<void> SqliteStore::remove(const Uuid& uuid, const Version& expected,
                                 const Withdrawn& withdrawn) {
  VTPM_CHECK(check_expected(expected));
  VTPM_CHECK(check_withdrawn(withdrawn));
  {
    VTPM_TRY(Transaction transaction, Transaction::begin(file_.db.get()));
    VTPM_CHECK(take_out(uuid, expected));
    VTPM_CHECK(keep(withdrawn));
    VTPM_CHECK(transaction.commit());
  }
  empty_log();
  return {};
}

Result<void> SqliteStore::take_out(const Uuid& uuid, const Version& expected) {
  VTPM_CHECK(swap(Sql::remove, uuid, expected));
  return run(Sql::bury, ByteView(uuid.bytes));
}

Result<void> SqliteStore::discard(const Uuid& uuid) {
  {
    VTPM_TRY(Transaction transaction, Transaction::begin(file_.db.get()));
    VTPM_CHECK(run(Sql::discard, ByteView(uuid.bytes)));
    if (sqlite3_changes64(file_.db.get()) == 0)
      return fail(ErrorCode::not_found, fmt::format("there is no device {}", uuid.to_string()));
    VTPM_CHECK(run(Sql::bury, ByteView(uuid.bytes)));
    VTPM_CHECK(transaction.commit());
  }
  empty_log();
  return {};
}

Result<std::vector<Withdrawn>> SqliteStore::withdrawn() {
  std::vector<Withdrawn> all;
  Query q = query(Sql::withdrawn);
  int rc = SQLITE_OK;
  while ((rc = q.step()) == SQLITE_ROW) {
    Withdrawn& one = all.emplace_back();
    one.number = static_cast<std::uint64_t>(q.integer(0));
    one.content = to_bytes(q.blob(1));
    if (!check_withdrawn(one)) return damaged();
  }
  if (rc == SQLITE_TOOBIG) return damaged();
  if (rc != SQLITE_DONE) return failed(rc);
  return all;
}

Result<std::uint64_t> SqliteStore::last_withdrawn() {
  Query q = query(Sql::last_withdrawn);
  if (const int rc = q.step(); rc != SQLITE_ROW) return failed(rc);
  const std::int64_t last = q.integer(0);
  if (last < 0) return damaged();
  return static_cast<std::uint64_t>(last);
}

Result<Bytes> SqliteStore::note() {
  Query q = query(Sql::note);
  const int rc = q.step();
  if (rc == SQLITE_DONE) return Bytes{};
  if (rc != SQLITE_ROW) return failed(rc);
  Bytes note = to_bytes(q.blob(0));
  VTPM_CHECK(check_note(note));
  return note;
}

Result<void> SqliteStore::revise(const std::vector<Revision>& revisions, ByteView note) {
  VTPM_CHECK(check_note(note));
  {
    VTPM_TRY(Transaction transaction, Transaction::begin(file_.db.get()));
    for (const Revision& r : revisions) {
      VTPM_CHECK(check_revision(r));
      VTPM_CHECK(
          swap(Sql::revise, r.uuid, r.expected, ByteView(r.wrapped_key), ByteView(r.voucher)));
    }
    VTPM_CHECK(run(Sql::put_note, note));
    VTPM_CHECK(transaction.commit());
  }
  empty_log();
  return {};
}

Result<void> SqliteStore::check() {
  VTPM_CHECK(check_pages(file_.db.get()));
  static constexpr std::size_t kPage = 64;
  std::string after;
  while (true) {
    VTPM_TRY(const auto entries, list(after, kPage));
    for (const Entry& entry : entries)
      if (!entry.record) return tl::unexpected<Error>(entry.record.error());
    if (entries.size() < kPage) return {};
    after = entries.back().name;
  }
}

}  // namespace

Result<std::unique_ptr<Store>> open_sqlite(const std::string& path) {
  return SqliteStore::open(path);
}

Result<void> check_sqlite(const std::string& path) {
  VTPM_TRY(const Database db, open_store_to_read(path));
  VTPM_CHECK(check_pages(db.get()));
  VTPM_TRY(const Statement all, Statement::prepare(db.get(), VTPM_SELECT_RECORD));
  Query q(all);
  int rc = SQLITE_OK;
  while ((rc = q.step()) == SQLITE_ROW) VTPM_CHECK(read_record(q));
  if (rc == SQLITE_TOOBIG) return damaged();
  if (rc != SQLITE_DONE) return fail_sqlite(rc, "store");
  return {};
}

}  // namespace vtpm::store
