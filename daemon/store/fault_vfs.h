// SPDX-License-Identifier: Apache-2.0
// For tests: a layer of SQLite's operating system interface (https://www.sqlite.org/vfs.html) that
// fails writes and syncs on demand, and knows what a power loss would leave of each file: all that
// was synced, and of what was written since any part, whole or torn.
//
// One at a time, one thread; it is SQLite's default while it lives.
#pragma once

#include <sqlite3.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/temporary_folder.h"

namespace vtpm::store {

class FaultVfs {
 public:
  using Files = std::map<std::string, std::string>;  // path -> content

  explicit FaultVfs(unsigned seed) : random_(seed), real_(sqlite3_vfs_find("unix")) {
    vfs_ = *real_;
    vfs_.zName = "fault";
    vfs_.pAppData = this;
    vfs_.szOsFile = static_cast<int>(sizeof(File)) + real_->szOsFile;
    vfs_.xOpen = &open;
    vfs_.xDelete = &remove;
    sqlite3_vfs_register(&vfs_, 1);
  }
  FaultVfs(const FaultVfs&) = delete;
  FaultVfs& operator=(const FaultVfs&) = delete;
  ~FaultVfs() {
    sqlite3_vfs_unregister(&vfs_);
    sqlite3_vfs_register(real_, 1);
  }

  // The n-th write (sync) from now on and all after it give this error; 0 stops that.
  void fail_writes(int n, int rc) { write_fault_ = {n, rc}; }
  void fail_syncs(int n, int rc) { sync_fault_ = {n, rc}; }
  // Calls `then` just before the n-th write, sync or truncation from now on; once.
  void at_event(int n, std::function<void()> then) {
    events_left_ = n;
    on_event_ = std::move(then);
  }

  // While this lives, new files are opened past this layer.
  class Aside {
   public:
    explicit Aside(FaultVfs& vfs) : vfs_(vfs) { sqlite3_vfs_register(vfs_.real_, 1); }
    Aside(const Aside&) = delete;
    Aside& operator=(const Aside&) = delete;
    ~Aside() { sqlite3_vfs_register(&vfs_.vfs_, 1); }

   private:
    FaultVfs& vfs_;
  };

  // What a power loss now would leave.
  Files power_loss() {
    Files left;
    for (const auto& [path, state] : states_) {
      std::string content = state.synced;
      for (const Change& change : state.pending) {
        switch (random_() % 4) {
          case 0: break;
          case 1: apply(content, change, random_() % (change.data.size() + 1)); break;
          default: apply(content, change, change.data.size());
        }
      }
      left[path] = std::move(content);
    }
    return left;
  }

 private:
  struct Change {
    std::size_t offset;
    std::string data;
    bool truncate;
  };
  struct State {
    std::string synced;
    std::vector<Change> pending;
  };
  struct Fault {
    int countdown = 0;
    int rc = SQLITE_OK;
    int hit() {
      if (countdown == 0 || (countdown > 1 && countdown-- > 1)) return SQLITE_OK;
      errno = rc == SQLITE_FULL ? ENOSPC : EIO;
      return rc;
    }
  };
  struct File {
    sqlite3_file base;
    FaultVfs* owner;
    State* state;
    sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
  };
  static File* self(sqlite3_file* f) { return reinterpret_cast<File*>(f); }
  static FaultVfs* self(sqlite3_vfs* v) { return static_cast<FaultVfs*>(v->pAppData); }

  static void apply(std::string& content, const Change& change, std::size_t bytes) {
    if (change.truncate) {
      content.resize(change.offset);
      return;
    }
    content.resize(std::max(content.size(), change.offset + bytes));
    content.replace(change.offset, bytes, change.data, 0, bytes);
  }
  void event() {
    if (events_left_ == 0 || --events_left_ > 0) return;
    on_event_();
  }

  static int open(sqlite3_vfs* v, const char* name, sqlite3_file* f, int flags, int* out) {
    FaultVfs* owner = self(v);
    File* file = self(f);
    file->base.pMethods = nullptr;
    const int rc = owner->real_->xOpen(owner->real_, name, file->real(), flags, out);
    if (rc != SQLITE_OK) return rc;
    file->owner = owner;
    const std::string path = name != nullptr ? name : "";
    if (!owner->states_.contains(path)) owner->states_[path].synced = read_file(path);
    file->state = &owner->states_[path];
    file->base.pMethods = &kMethods;
    return SQLITE_OK;
  }
  static int remove(sqlite3_vfs* v, const char* name, int sync) {
    self(v)->states_.erase(name);
    return self(v)->real_->xDelete(self(v)->real_, name, sync);
  }
  static int write(sqlite3_file* f, const void* data, int n, sqlite3_int64 offset) {
    File* file = self(f);
    file->owner->event();
    if (const int rc = file->owner->write_fault_.hit(); rc != SQLITE_OK) return rc;
    file->state->pending.push_back(
        {static_cast<std::size_t>(offset),
         std::string(static_cast<const char*>(data), static_cast<std::size_t>(n)), false});
    return file->real()->pMethods->xWrite(file->real(), data, n, offset);
  }
  static int truncate(sqlite3_file* f, sqlite3_int64 size) {
    File* file = self(f);
    file->owner->event();
    file->state->pending.push_back({static_cast<std::size_t>(size), "", true});
    return file->real()->pMethods->xTruncate(file->real(), size);
  }
  static int sync(sqlite3_file* f, int flags) {
    File* file = self(f);
    file->owner->event();
    if (const int rc = file->owner->sync_fault_.hit(); rc != SQLITE_OK) return rc;
    for (const Change& change : file->state->pending)
      apply(file->state->synced, change, change.data.size());
    file->state->pending.clear();
    return file->real()->pMethods->xSync(file->real(), flags);
  }

  // The rest goes straight through.
  template <auto Method, class... Args>
  static auto pass(sqlite3_file* f, Args... args) {
    return (self(f)->real()->pMethods->*Method)(self(f)->real(), args...);
  }
  using M = sqlite3_io_methods;
  static const sqlite3_io_methods kMethods;

  std::mt19937 random_;
  sqlite3_vfs* real_;
  sqlite3_vfs vfs_{};
  std::map<std::string, State> states_;
  Fault write_fault_;
  Fault sync_fault_;
  int events_left_ = 0;
  std::function<void()> on_event_;
};

inline const sqlite3_io_methods FaultVfs::kMethods = {
    2,
    &pass<&M::xClose>,
    &pass<&M::xRead, void*, int, sqlite3_int64>,
    &write,
    &truncate,
    &sync,
    &pass<&M::xFileSize, sqlite3_int64*>,
    &pass<&M::xLock, int>,
    &pass<&M::xUnlock, int>,
    &pass<&M::xCheckReservedLock, int*>,
    &pass<&M::xFileControl, int, void*>,
    &pass<&M::xSectorSize>,
    &pass<&M::xDeviceCharacteristics>,
    &pass<&M::xShmMap, int, int, int, void volatile**>,
    &pass<&M::xShmLock, int, int, int>,
    &pass<&M::xShmBarrier>,
    &pass<&M::xShmUnmap, int>,
    nullptr,
    nullptr,
};

}  // namespace vtpm::store
