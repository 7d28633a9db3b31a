// SPDX-License-Identifier: Apache-2.0
#include "store/sqlite_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "store/checks.h"

namespace vtpm::store {
namespace {

// Narrows a column; what does not fit marks the whole record as damaged.
template <class T>
T number(const Query& row, int column, bool& ok) {
  const std::int64_t v = row.integer(column);
  if (!std::in_range<T>(v)) ok = false;
  return static_cast<T>(v);
}

}  // namespace

tl::unexpected<Error> damaged() {
  return fail(ErrorCode::corrupt, "store: a record holds values that vtpmd never writes",
              "'vtpmctl delete' removes the device, or restore the store from a backup");
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
  r.voucher = to_bytes(row.blob(19));
  if (!row.is_null(20)) r.settings.park_after_s = number<std::uint32_t>(row, 20, ok);
  const auto role = number<std::uint8_t>(row, 21, ok);
  r.settings.role = static_cast<Role>(role);
  r.lineage = to_bytes(row.blob(22));
  r.settings.cert_profile = number<std::uint8_t>(row, 23, ok);
  r.taken_us = number<std::uint64_t>(row, 24, ok);
  if (!ok || !check_record(r)) return damaged();
  return r;
}

Result<void> check_pages(sqlite3* db) {
  VTPM_TRY(const std::string verdict, query_text(db, "PRAGMA integrity_check(1)"));
  if (verdict != "ok")
    return fail(ErrorCode::corrupt, fmt::format("store: {}", verdict),
                "restore the store from a backup");
  VTPM_TRY(const Statement foreign_keys, Statement::prepare(db, "PRAGMA foreign_key_check"));
  Query q(foreign_keys);
  const int rc = q.step();
  if (rc == SQLITE_ROW) return damaged();
  if (rc != SQLITE_DONE) return fail_sqlite(rc, "store");
  return {};
}

}  // namespace vtpm::store
