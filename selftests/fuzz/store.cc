// SPDX-License-Identifier: Apache-2.0
// A store's file that somebody else could write: rows of any type and size in tables that look like
// ours, and pages of a sound file with bytes put over them.
//
//   0   UINT8   1 = bytes over pages; else rows. For rows its bits 1 to 3 say: tables without
//               types, a trigger that changes what vtpmd writes, a second device
//   1   what it takes, as its function reads it
//
// What a record may do to vtpmd is its reader's to say: nothing that was not vouched for is taken
// for a record, and no state but the one that was sealed comes out of it.
#include "store/store.h"

#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <variant>
#include <vector>

#include "base/temporary_folder.h"
#include "check.h"
#include "device/records.h"
#include "device/vault.h"
#include "store/checks.h"
#include "store/sqlite.h"

namespace vtpm::fuzz {
namespace {

using store::Record;
using Value = std::variant<std::int64_t, std::string, Bytes>;

constexpr std::uint64_t kRun = 7;
constexpr std::uint8_t kReadOnly = 1;  // such a device has no state
constexpr std::uint32_t kMaxHole = std::uint32_t{2}
                                   << 20;  // a zeroblob, larger than any row may be

store::HostKey host_key() {
  auto key = store::HostKey::from_secret(SecretBytes(32, std::byte{0x11}), "test");
  FUZZ_CHECK(key);
  return *std::move(key);
}

Checkpoint intended_state() {
  Checkpoint checkpoint;
  checkpoint.permanent_version = 1;
  checkpoint.sequence = 3;
  checkpoint.permanent = to_secret(as_bytes("what was sealed"));
  return checkpoint;
}

const SecretBytes& intended_lineage() {
  static const SecretBytes lineage = to_secret(as_bytes("the key of a family"));
  return lineage;
}

// The one record that vtpmd wrote.
const Record& intended() {
  static const Record record = [] {
    device::Vault vault(host_key());
    Record r;
    r.uuid.bytes.fill(std::byte{5});
    r.settings.name = "one";
    r.settings.owner = "shop";
    r.settings.park_after_s = 60;
    r.settings.cert_profile = 2;
    r.taken_us = 77;
    r.version.owner = "me";
    r.version.epoch = 4;
    const auto commit = vault.prepare(r, intended_state(), {2, intended_lineage()});
    FUZZ_CHECK(commit);
    r.version.generation = 1;
    r.wrapped_key = commit->wrapped_key;
    r.state = commit->state;
    r.lineage = commit->lineage;
    const auto voucher = vault.vouch(r, kRun);
    FUZZ_CHECK(voucher);
    r.voucher = *voucher;
    return r;
  }();
  return record;
}

struct Column {
  const char* name;
  Value value;
};

std::vector<Column> columns_of(const Record& r) {
  const auto integer = [](auto v) { return static_cast<std::int64_t>(v); };
  const store::Settings& s = r.settings;
  return {{"id", integer(1)},
          {"uuid", Bytes(r.uuid.bytes.begin(), r.uuid.bytes.end())},
          {"name", s.name},
          {"owner", s.owner},
          {"kind", integer(s.kind)},
          {"mode", integer(s.mode)},
          {"node", integer(s.node)},
          {"socket_path", s.socket_path},
          {"linux_hmac", integer(s.linux_hmac)},
          {"command_timeout_ms", integer(s.command_timeout_ms)},
          {"detach_timeout_ms", integer(s.detach_timeout_ms)},
          {"manager", r.version.owner},
          {"epoch", integer(r.version.epoch)},
          {"generation", integer(r.version.generation)},
          {"wrapped_key", r.wrapped_key},
          {"powered", integer(r.powered)},
          {"failure", r.failure},
          {"voucher", r.voucher},
          {"park_after_s", integer(s.park_after_s.value_or(0))},
          {"role", integer(s.role)},
          {"cert_profile", integer(s.cert_profile)},
          {"taken_us", integer(r.taken_us)}};
}

void bind_value(sqlite3_stmt* row, int index, const Value& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    sqlite3_bind_int64(row, index, *number);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    sqlite3_bind_text64(row, index, text->data(), text->size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  } else {
    const Bytes& bytes = std::get<Bytes>(value);
    sqlite3_bind_blob64(row, index, bytes.empty() ? "" : static_cast<const void*>(bytes.data()),
                        bytes.size(), SQLITE_TRANSIENT);
  }
}

// What stands in a column: what vtpmd would write, unless the input says otherwise.
void bind_hostile(sqlite3_stmt* row, int index, Reader& in, const Value& value) {
  const std::uint8_t type = in.rest().empty() ? 0xff : in.u8();
  const auto bytes = [&in] { return take(in, in.u8()); };
  switch (type % 16) {
    case 0: sqlite3_bind_null(row, index); return;
    case 1: sqlite3_bind_int64(row, index, static_cast<std::int64_t>(in.u64())); return;
    case 2: sqlite3_bind_int64(row, index, in.u8()); return;
    case 3: sqlite3_bind_double(row, index, static_cast<double>(in.u32()) / 3); return;
    case 4: {
      const auto text = as_text(bytes());
      sqlite3_bind_text64(row, index, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
      return;
    }
    case 5: return bind_value(row, index, to_bytes(bytes()));
    case 6: sqlite3_bind_zeroblob64(row, index, in.u32() % kMaxHole); return;
    case 7: {  // the right bytes, with one of them changed
      Value changed = value;
      const std::uint8_t at = in.u8();
      const std::uint8_t by = in.u8();
      if (auto* number = std::get_if<std::int64_t>(&changed)) *number ^= by;
      if (auto* text = std::get_if<std::string>(&changed); text != nullptr && !text->empty())
        (*text)[at % text->size()] = static_cast<char>((*text)[at % text->size()] ^ by);
      if (auto* blob = std::get_if<Bytes>(&changed); blob != nullptr && !blob->empty())
        (*blob)[at % blob->size()] ^= std::byte{by};
      return bind_value(row, index, changed);
    }
    default: return bind_value(row, index, value);
  }
}

void insert(sqlite3* db, const std::string& table, const std::vector<Column>& columns, Reader& in) {
  std::string names;
  std::string marks;
  for (const Column& column : columns) {
    names += (names.empty() ? "" : ",") + std::string(column.name);
    marks += marks.empty() ? "?" : ",?";
  }
  const std::string sql = "INSERT INTO " + table + " (" + names + ") VALUES (" + marks + ")";
  sqlite3_stmt* row = nullptr;
  FUZZ_CHECK(sqlite3_prepare_v2(db, sql.c_str(), -1, &row, nullptr) == SQLITE_OK);
  int index = 1;
  for (const Column& column : columns) bind_hostile(row, index++, in, column.value);
  (void)sqlite3_step(row);  // tables with types take less
  sqlite3_finalize(row);
}

// The same names, without a type, a key or a check.
constexpr const char* kLooseTables = R"sql(
  DROP TABLE state; DROP TABLE device; DROP TABLE tombstone; DROP TABLE note;
  DROP TABLE lineage;
  CREATE TABLE device (id, uuid, name, owner, kind, mode, node, socket_path, linux_hmac,
    command_timeout_ms, detach_timeout_ms, manager, epoch, generation, wrapped_key, powered,
    failure, voucher, park_after_s, role, cert_profile, taken_us);
  CREATE TABLE state (device UNIQUE, epoch, generation, sealed);
  CREATE TABLE lineage (device UNIQUE, sealed);
  CREATE TABLE tombstone (uuid UNIQUE);
  CREATE TABLE note (id UNIQUE, content);
)sql";

// A folder with one store, written anew for each input.
class HostileStore {
 public:
  HostileStore() {
    FUZZ_CHECK(::chmod(folder_.path().c_str(), 0700) == 0);
    FUZZ_CHECK(store::open_sqlite(path()));
    empty_ = read_file(path());
    edit(empty_, kLooseTables);
    loose_ = read_file(path());
    put(empty_);
    const auto opened = store::open_sqlite(path());
    FUZZ_CHECK(opened && (*opened)->create(intended()));
    Record second = intended();
    second.uuid.bytes.fill(std::byte{6});
    second.settings.name = "two";
    FUZZ_CHECK((*opened)->create(second) && (*opened)->revise({}, as_bytes("note")));
    // The log is in the file when the last one closes it.
  }
  std::string path() const { return folder_ / "store.db"; }
  void put(const std::string& content) {
    for (const char* suffix : {"-wal", "-shm"}) ::unlink((path() + suffix).c_str());
    write_file(path(), content);
    FUZZ_CHECK(::chmod(path().c_str(), 0600) == 0);
  }
  const std::string& full() {
    if (full_.empty()) full_ = read_file(path());
    return full_;
  }
  const std::string& empty(bool loose) const { return loose ? loose_ : empty_; }
  template <class Work>
  void edit(const std::string& content, Work work) {
    put(content);
    sqlite3* raw = nullptr;
    FUZZ_CHECK(sqlite3_open(path().c_str(), &raw) == SQLITE_OK);
    const store::Database db(raw);
    FUZZ_CHECK(sqlite3_exec(raw, "PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY; BEGIN",
                            nullptr, nullptr, nullptr) == SQLITE_OK);
    if constexpr (std::is_same_v<Work, const char*>)
      FUZZ_CHECK(sqlite3_exec(raw, work, nullptr, nullptr, nullptr) == SQLITE_OK);
    else
      work(raw);
    FUZZ_CHECK(sqlite3_exec(raw, "COMMIT", nullptr, nullptr, nullptr) == SQLITE_OK);
  }

 private:
  TemporaryFolder folder_;
  std::string empty_, loose_, full_;
};

// Of what the voucher covers, all is as it was written. Of what is sealed that is the tag.
bool as_intended(const Record& r) {
  const Record& i = intended();
  const auto tag = [](ByteView bytes) {
    return bytes.last(std::min(bytes.size(), store::kSealTagSize));
  };
  return r.uuid == i.uuid && r.settings == i.settings && r.version == i.version &&
         r.wrapped_key == i.wrapped_key && r.powered == i.powered && r.failure == i.failure &&
         r.taken_us == i.taken_us && r.state.epoch == i.state.epoch &&
         r.state.generation == i.state.generation &&
         std::ranges::equal(tag(r.state.bytes), tag(i.state.bytes)) &&
         std::ranges::equal(tag(r.lineage), tag(i.lineage));
}

void look_at(const Record& record) {
  FUZZ_CHECK(store::check_record(record));
  device::Vault vault(host_key());
  const auto run = vault.check_voucher(record);
  if (run) FUZZ_CHECK(*run == kRun && as_intended(record));
  const auto state = vault.open(record);
  if (state && *state) FUZZ_CHECK(encode(**state) == encode(intended_state()));
  if (state && !*state)
    FUZZ_CHECK(record.version.generation == 0 || record.settings.mode == kReadOnly ||
               record.settings.role == store::Role::retired);
  const auto lineage = vault.open_lineage(record);
  if (lineage && *lineage) FUZZ_CHECK(**lineage == intended_lineage());
  if (lineage && !*lineage) FUZZ_CHECK(record.lineage.empty());
  if (run && record.state.bytes == intended().state.bytes) FUZZ_CHECK(state && *state);
}

// Everything that vtpmd does with a store that it opened.
void use(const std::string& path) {
  const auto opened = store::open_sqlite(path);
  if (!opened) return;
  store::Store& file = **opened;
  const device::Vault vault(host_key());
  device::Records records(file, vault, kRun);
  const auto entries = file.list("", 16);
  const auto vouched = records.list("", 16);
  (void)file.note();
  (void)file.check();
  (void)file.find("one");
  // A broken page is found when it is read from the file, not each time that it is looked at.
  if (!entries || !vouched) return;
  for (const store::Store::Entry& entry : *vouched)
    if (entry.record) FUZZ_CHECK(as_intended(*entry.record));
  for (const store::Store::Entry& entry : *entries) {
    if (!entry.record) {
      FUZZ_CHECK(entry.record.error().code == ErrorCode::corrupt);
      (void)file.discard(entry.uuid);
      continue;
    }
    const Record& record = *entry.record;
    look_at(record);
    const auto taken = records.acquire(record.uuid, record.version, "me");
    if (taken) FUZZ_CHECK(taken->epoch == record.version.epoch + 1);
    (void)records.set_failure(record.uuid, taken ? *taken : record.version, "why");
    (void)records.remove(record.uuid, taken ? *taken : record.version, {});
  }
  (void)store::check_sqlite(path);
}

void rows(HostileStore& hostile, std::uint8_t form, Reader in) {
  const auto work = [&](sqlite3* db) {
    const int devices = (form & 8) != 0 ? 2 : 1;
    for (int i = 0; i < devices; i++) {
      insert(db, "device", columns_of(intended()), in);
      insert(db, "state",
             {{"device", std::int64_t{1}},
              {"epoch", static_cast<std::int64_t>(intended().state.epoch)},
              {"generation", static_cast<std::int64_t>(intended().state.generation)},
              {"sealed", intended().state.bytes}},
             in);
      insert(db, "lineage", {{"device", std::int64_t{1}}, {"sealed", intended().lineage}}, in);
    }
    insert(db, "note", {{"id", std::int64_t{1}}, {"content", Bytes(8)}}, in);
    insert(db, "tombstone", {{"uuid", Bytes(16)}}, in);
    if ((form & 4) != 0)
      (void)sqlite3_exec(db,
                         "CREATE TRIGGER t AFTER UPDATE ON device BEGIN UPDATE device SET mode = "
                         "mode + 1, epoch = epoch + 7; END",
                         nullptr, nullptr, nullptr);
  };
  hostile.edit(hostile.empty((form & 2) != 0), work);
}

// Places and what is put there: UINT16 place, UINT8 size, bytes.
void pages(HostileStore& hostile, Reader in) {
  std::string content = hostile.full();
  while (in.rest().size() > 3) {
    const std::size_t at = in.u16();
    const ByteView over = take(in, in.u8() % 32);
    for (std::size_t i = 0; i < over.size(); i++)
      content[(at + i) % content.size()] = std::to_integer<char>(over[i]);
  }
  hostile.put(content);
}

}  // namespace
}  // namespace vtpm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static vtpm::fuzz::HostileStore hostile;
  (void)hostile.full();  // before the first input takes its place
  if (size == 0) return 0;
  const vtpm::Reader in({reinterpret_cast<const std::byte*>(data) + 1, size - 1});
  if ((data[0] & 1) != 0)
    vtpm::fuzz::pages(hostile, in);
  else
    vtpm::fuzz::rows(hostile, data[0], in);
  vtpm::fuzz::use(hostile.path());
  return 0;
}
