// SPDX-License-Identifier: Apache-2.0
// The statements of the SQLite store.
#pragma once

#include <cstdint>

namespace vtpm::store {

// The columns that read_record() takes.
#define VTPM_SELECT_RECORD                                                                       \
  "SELECT uuid, name, owner, kind, mode, node, socket_path, linux_hmac, command_timeout_ms, "    \
  "detach_timeout_ms, manager, d.epoch, d.generation, wrapped_key, powered, failure, s.epoch,"   \
  " s.generation, s.sealed, voucher, park_after_s, role, l.sealed, cert_profile, taken_us FROM " \
  "device d LEFT JOIN state s ON s.device = d.id LEFT JOIN lineage l ON l.device = d.id"
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
  put_lineage,
  drop_lineage,
  set_powered,
  set_failure,
  set_settings,
  retire,
  release,
  remove,
  discard,
  bury,
  note,
  put_note,
  revise,
  withdraw,
  withdrawn,
  last_withdrawn,
  empty_log,
  count
};

constexpr const char* text_of(Sql sql) {
  switch (sql) {
    case Sql::get: return VTPM_SELECT_RECORD " WHERE uuid = ?1";
    case Sql::find: return "SELECT uuid FROM device WHERE name = ?1";
    case Sql::list: return "SELECT uuid, name FROM device WHERE name > ?1 ORDER BY name LIMIT ?2";
    case Sql::is_buried: return "SELECT uuid FROM tombstone WHERE uuid = ?1";
    case Sql::insert:
      return "INSERT INTO device (uuid, name, owner, kind, mode, node, socket_path, linux_hmac, "
             "command_timeout_ms, detach_timeout_ms, manager, epoch, generation, wrapped_key, "
             "powered, failure, voucher, park_after_s, role, cert_profile, taken_us) VALUES "
             "(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21)";
    case Sql::acquire:
      return "UPDATE device SET manager = ?5, epoch = epoch + 1, voucher = ?6" VTPM_IF_UNCHANGED;
    case Sql::commit:
      return "UPDATE device SET generation = generation + 1, voucher = ?6, "
             "wrapped_key = iif(length(?5) > 0 OR ?8, ?5, wrapped_key), "
             "mode = iif(?7 > 0, ?7, mode), role = iif(?9 > 0, ?9, role)" VTPM_IF_UNCHANGED;
    case Sql::put_state:
      return "INSERT INTO state (device, epoch, generation, sealed) "
             "SELECT id, ?2, ?3, ?4 FROM device WHERE uuid = ?1 "
             "ON CONFLICT (device) DO UPDATE SET epoch = ?2, generation = ?3, sealed = ?4";
    case Sql::drop_state:
      return "DELETE FROM state WHERE device = (SELECT id FROM device WHERE uuid = ?1)";
    case Sql::drop_lineage:
      return "DELETE FROM lineage WHERE device = (SELECT id FROM device WHERE uuid = ?1)";
    case Sql::put_lineage:
      return "INSERT INTO lineage (device, sealed) SELECT id, ?2 FROM device WHERE uuid = ?1 "
             "ON CONFLICT (device) DO UPDATE SET sealed = ?2";
    case Sql::set_powered: return "UPDATE device SET powered = ?5, voucher = ?6" VTPM_IF_UNCHANGED;
    case Sql::set_failure: return "UPDATE device SET failure = ?5, voucher = ?6" VTPM_IF_UNCHANGED;
    case Sql::set_settings:
      return "UPDATE device SET owner = ?5, park_after_s = ?6, cert_profile = ?7, "
             "voucher = ?8" VTPM_IF_UNCHANGED;
    case Sql::retire:
      return "UPDATE device SET generation = generation + 1, powered = 0, failure = '', "
             "name = ?5, role = ?6, wrapped_key = ?7, voucher = ?8" VTPM_IF_UNCHANGED;
    case Sql::release: return "UPDATE device SET manager = '', voucher = ?5" VTPM_IF_UNCHANGED;
    case Sql::remove: return "DELETE FROM device" VTPM_IF_UNCHANGED;
    case Sql::discard: return "DELETE FROM device WHERE uuid = ?1";
    case Sql::note: return "SELECT content FROM note WHERE id = 1";
    case Sql::put_note:
      return "INSERT INTO note (id, content) VALUES (1, ?1) "
             "ON CONFLICT (id) DO UPDATE SET content = ?1";
    case Sql::revise:
      return "UPDATE device SET voucher = ?6, "
             "wrapped_key = iif(length(?5) > 0, ?5, wrapped_key)" VTPM_IF_UNCHANGED;
    case Sql::withdraw: return "INSERT INTO withdrawn (number, content) VALUES (?1, ?2)";
    case Sql::withdrawn: return "SELECT number, content FROM withdrawn ORDER BY number";
    case Sql::last_withdrawn: return "SELECT ifnull(max(number), 0) FROM withdrawn";
    case Sql::bury: return "INSERT OR IGNORE INTO tombstone (uuid) VALUES (?1)";
    case Sql::empty_log: return "PRAGMA wal_checkpoint(TRUNCATE)";
    case Sql::count: break;
  }
  return "";
}

}  // namespace vtpm::store
