// SPDX-License-Identifier: Apache-2.0
// Store: device records that survive everything but the loss of the disk.
//
// Small on purpose: what a distributed store can also give. Every write is a compare-and-swap on
// (owner, epoch, generation), so a stale writer changes nothing. Blobs are opaque and sealed by the
// caller (sealing.h); so are vouchers: each write brings that of the record as it is after it.
// The store holds no key and makes no such check itself. Threads: one caller at a time; the
// manager's loop is that caller. Each call is atomic and durable before it returns OK.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/uuid.h"

namespace vtpm::store {

// Limits; over them a call fails with TOO_LARGE. A checkpoint encodes to less than 200 KiB.
inline constexpr std::size_t kMaxStateBlob = std::size_t{256} * 1024;
inline constexpr std::size_t kMaxLineage = std::size_t{64} * 1024;  // sealed
inline constexpr std::size_t kMaxWrappedKey = 256;
inline constexpr std::size_t kMaxVoucher = 256;
inline constexpr std::size_t kMaxWithdrawn = 2048;
inline constexpr std::size_t kMaxNote = std::size_t{64} * 1024;
inline constexpr std::size_t kMaxText = 1024;       // owner, failure, id of a manager; no NUL
inline constexpr std::uint8_t kMaxCertProfile = 3;  // privsep::IdentityProfile
inline constexpr std::size_t kMaxSocketPath = 107;  // sun_path of unix(7), without its NUL

// What a record is of.
enum class Role : std::uint8_t {
  device = 1,
  template_device = 2,  // never started; devices that are made from it begin with its settings
  // Holds a copy of another device's state: not to be started before that is rebased, so that there
  // are no two TPMs with one identity. The second one is to have a fresh storage hierarchy, too.
  quarantined = 3,
  quarantined_fresh_storage = 4,
  // Another device has taken its place. It has no state, and never gets one again; its lineage
  // stays, for whoever has to know its certificates.
  retired = 5,
  // A device as it was: never started. Its name is DEVICE@SNAPSHOT.
  snapshot = 6,
  // It left for another host: its state is sealed to that one, its lineage stays.
  moved = 7,
};
// May a device of this role have a node?
constexpr bool has_node(Role role) {
  return role == Role::device || role == Role::quarantined ||
         role == Role::quarantined_fresh_storage;
}

// What a person chose; changes rarely. Two read-only devices differ in uuid and name alone.
struct Settings {
  std::string name;         // unique; valid_name(), of a snapshot valid_snapshot_name()
  std::string owner;        // free text: the container or VM it is for
  std::uint8_t kind = 1;    // privsep::DeviceKind
  std::uint8_t mode = 1;    // privsep::DeviceMode
  std::uint8_t node = 1;    // privsep::NodeKind
  std::string socket_path;  // node = socket: path of S; empty = the manager's default folder
  bool linux_hmac = false;
  std::uint32_t command_timeout_ms = 0;  // 0 = the module's default
  std::uint32_t detach_timeout_ms = 0;
  // Idle for so long, it is parked; 0 = never, nothing = as vtpmd does with devices in general.
  std::optional<std::uint32_t> park_after_s;
  Role role = Role::device;
  std::uint8_t cert_profile = 0;  // privsep::IdentityProfile; 0 = as vtpmd does
  bool operator==(const Settings&) const = default;
};

// Which incarnation of a device a write belongs to.
struct Version {
  std::string owner;             // id of the manager that holds the device; empty = nobody
  std::uint64_t epoch = 0;       // + 1 with every acquire
  std::uint64_t generation = 0;  // + 1 with every commit
  bool operator==(const Version&) const = default;
};

// A sealed blob and what it was sealed under: acquire() changes the epoch without resealing.
struct SealedBlob {
  Bytes bytes;  // empty = none
  std::uint64_t epoch = 0;
  std::uint64_t generation = 0;
  bool operator==(const SealedBlob&) const = default;
};

struct Record {
  Uuid uuid;
  Settings settings;
  Version version;
  Bytes wrapped_key;  // the device's key, wrapped by the host key; empty = needed by nothing
  SealedBlob state;   // sealed Checkpoint; empty = read-only, or no identity yet
  Bytes lineage;      // sealed: where its identity comes from (identity/lineage.h); empty = nowhere
  // Desired power: start again when the manager starts.
  bool powered = false;
  // Why the device is `failed`; empty = it is not.
  std::string failure;
  // Of a snapshot: when it was taken, microseconds since 1970; no two of a device at one time.
  std::uint64_t taken_us = 0;
  // What the caller vouches for all of the above with (device/records.h); opaque here.
  Bytes voucher;
};

// What is kept of a device that is gone, or that lost its identity; opaque. They are numbered from
// 1 on, and never change.
struct Withdrawn {
  std::uint64_t number = 0;  // 0 = none
  Bytes content;
  bool operator==(const Withdrawn&) const = default;
};

class Store {
 public:
  virtual ~Store() = default;

  // EXISTS if the uuid is present or was ever removed (tombstone), or the name is taken.
  virtual Result<void> create(const Record& record) = 0;
  virtual Result<Record> get(const Uuid& uuid) = 0;
  virtual Result<std::optional<Uuid>> find(const std::string& name) = 0;
  // In the order of names; `after` empty = from the start. A record that cannot be read is an entry
  // with that error and does not hide its neighbours; its uuid is nil if that is damaged, too.
  struct Entry {
    Uuid uuid;
    std::string name;  // as it is there: not checked
    Result<Record> record;
  };
  virtual Result<std::vector<Entry>> list(const std::string& after, std::size_t limit) = 0;

  // Takes the device for `new_owner`: epoch + 1, if its version is still `expected`; CONFLICT else.
  virtual Result<Version> acquire(const Uuid& uuid, const Version& expected,
                                  const std::string& new_owner, ByteView voucher) = 0;
  // Replaces state (and wrapped_key, if not empty): generation + 1, if version is `expected`.
  // `state` must have been sealed under expected.epoch and expected.generation + 1. An empty one
  // takes state, lineage and wrapped key away, also from where the store's files still had them. An
  // identity changes together with what goes with it: `mode` is the new settings.mode, 0 = as it
  // is.
  virtual Result<Version> commit(const Uuid& uuid, const Version& expected, const SealedBlob& state,
                                 ByteView wrapped_key, ByteView voucher, std::uint8_t mode = 0) = 0;
  // Several commits in one durable transaction; each has its own result.
  struct CommitRequest {
    Uuid uuid;
    Version expected;
    SealedBlob state;
    Bytes wrapped_key;
    Bytes voucher;
    std::uint8_t mode = 0;
    Bytes lineage{};             // empty = as it is; an identity and its lineage change together
    std::optional<Role> role{};  // the new settings.role; nothing = as it is
    Withdrawn withdrawn{};       // kept of what it was; with the number that follows the last one
  };
  virtual std::vector<Result<Version>> commit_all(const std::vector<CommitRequest>& requests) = 0;

  virtual Result<void> set_powered(const Uuid& uuid, const Version& expected, bool powered,
                                   ByteView voucher) = 0;
  virtual Result<void> set_failure(const Uuid& uuid, const Version& expected,
                                   const std::string& reason, ByteView voucher) = 0;
  // Of settings those that can change while the device lives: owner, park_after_s and
  // cert_profile.
  virtual Result<void> set_settings(const Uuid& uuid, const Version& expected,
                                    const Settings& settings, ByteView voucher) = 0;
  virtual Result<Version> release(const Uuid& uuid, const Version& expected, ByteView voucher) = 0;
  // A device takes the place of another one, and all of this in one durable transaction, or
  // nothing. `retired`, if its version is `expected`, gets another name and the role `retired`;
  // state and key go, `lineage` is what it has under the new `wrapped_key`; generation + 1, and it
  // is to be off. `successor` is made as by create(), and may have the name that is free now.
  // `gone` are removed as by remove().
  struct Succession {
    Uuid retired;
    Version expected;
    std::string retired_name;
    Bytes wrapped_key;
    Bytes lineage;
    Bytes voucher;
    Record successor;
    std::vector<std::pair<Uuid, Version>> gone;
  };
  virtual Result<void> succeed(const Succession& succession) = 0;
  // Leaves a tombstone: the uuid is never used again. `withdrawn` as in CommitRequest.
  virtual Result<void> remove(const Uuid& uuid, const Version& expected,
                              const Withdrawn& withdrawn = {}) = 0;
  // The same for a record that cannot be read: whatever it holds.
  virtual Result<void> discard(const Uuid& uuid) = 0;

  // All of them, in their order; and the number of the last one, 0 if there is none.
  virtual Result<std::vector<Withdrawn>> withdrawn() = 0;
  virtual Result<std::uint64_t> last_withdrawn() = 0;

  // What the caller notes of the store as a whole; opaque, empty at first.
  virtual Result<Bytes> note() = 0;
  // All of these and the note, in one durable transaction, or nothing. No version changes.
  struct Revision {
    Uuid uuid;
    Version expected;
    Bytes wrapped_key;  // empty = as it is
    Bytes voucher;
  };
  virtual Result<void> revise(const std::vector<Revision>& revisions, ByteView note) = 0;

  // Every page and every record checked.
  virtual Result<void> check() = 0;
  // What it is made of, for people: "SQLite 3.40.1".
  [[nodiscard]] virtual std::string description() const = 0;
};

// SQLite: WAL, synchronous=FULL, one file (mode 0600) in a folder of mode 0700, which is made if it
// is not there. Errors: BUSY if another process has this store open (`path`.lock says who),
// UNSUPPORTED if a newer vtpmd wrote it, CORRUPT, PERMISSION if others may read it.
Result<std::unique_ptr<Store>> open_sqlite(const std::string& path);
// check() by a connection of its own that only reads: for any thread, while a manager has the store
// open. CORRUPT says what is wrong.
Result<void> check_sqlite(const std::string& path);

// 1 to 63 of [A-Za-z0-9._-], the first one alphanumeric.
bool valid_name(const std::string& name);
// Two of them with an @ between: the device's and its own.
bool valid_snapshot_name(const std::string& name);

}  // namespace vtpm::store
