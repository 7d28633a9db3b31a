// SPDX-License-Identifier: Apache-2.0
// Journal: the volatile checkpoint of one incarnation of a worker, in a file on ramfs.
//
// A header page, written once by the manager, and two slots, written in turn by the worker. A slot
// counts once its commit word, written last, holds the number of the commit; a writer that is
// killed at any instruction leaves the other slot whole. No checksum guards against torn writes: a
// process's stores become visible in program order to whoever reads after its death, and ramfs does
// not outlive the host's power. Everything read is checked all the same: the worker is untrusted.
//
// Behind the slots is room for commands that were executed since the newest of them, so that not
// each needs a slot. Such a list counts entry by entry, and ends with the next slot.
//
// One file per incarnation: a stopped worker that wakes writes into a file nobody reads any more.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/checkpoint.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "base/uuid.h"

namespace vtpm::journal {

struct Header {
  Uuid device;
  BootId boot_id{};
  PowerId power_id{};  // of the kernel node; zero for a socket
  std::uint64_t incarnation = 0;
};

// The manager's side: a folder of journals, which must be on ramfs (never swapped, gone with the
// host's power) unless `allow_any_filesystem`, which is for tests.
class Folder {
 public:
  static Result<Folder> open(const std::string& path, bool allow_any_filesystem);
  // Makes `path` a ramfs mount (mode 0700) if it is not one; needs CAP_SYS_ADMIN.
  static Result<void> mount_ramfs(const std::string& path);

  // A new file for this incarnation, sized for both slots; `first` (may be null) is put into it.
  // It replaces the device's older journal once it is complete, and not before. `first` must carry
  // the header's boot id and no later incarnation.
  Result<UniqueFd> create(const Header& header, const Checkpoint* first);
  struct Found {
    Header header;
    std::optional<Checkpoint> newest;
  };
  // What the device's last journal holds; nullopt if there is none. Only when its writer is dead.
  // The worker can write all of the file, so the caller compares the header with what it expects;
  // a newest checkpoint that is unsound is `corrupt`, never replaced by the older one.
  Result<std::optional<Found>> read(const Uuid& device) const;
  // Keeps of the device's journal, if there is one, the newest checkpoint alone, in as few pages as
  // it takes: what read() gives is the same. Only when its writer is dead. After an error the
  // journal is as it was.
  Result<void> compact(const Uuid& device);
  Result<void> remove(const Uuid& device);
  Result<std::vector<Uuid>> list() const;

 private:
  explicit Folder(UniqueFd dir) : dir_(std::move(dir)) {}
  UniqueFd dir_;
};

// The worker's side: maps the file and keeps no descriptor.
class Journal {
 public:
  static Result<Journal> map(UniqueFd file);
  Journal(Journal&& other) noexcept;
  Journal& operator=(Journal&& other) noexcept;
  ~Journal();
  // No file operation. too_large if a part is over its limit, invalid_argument if the checkpoint is
  // of another boot or of a later incarnation than the journal, full if the numbers of commits are
  // used up; nothing is changed then.
  Result<void> commit(const Checkpoint& checkpoint);
  // Adds a command to the last commit, under its sequence number. No file operation. False if there
  // is no room, or nothing that was committed through this mapping: then it needs a commit.
  bool append(std::uint64_t sequence, const RedoView& redo);

 private:
  Journal() = default;
  std::byte* base_ = nullptr;
  std::uint64_t commits_ = 0;        // the number of the last one
  std::optional<std::size_t> redo_;  // where the next entry goes; none before the first commit
  Header header_;
};

}  // namespace vtpm::journal
