// SPDX-License-Identifier: Apache-2.0
// The manager's side.
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "journal/journal.h"
#include "journal/layout.h"

namespace vtpm::journal {
namespace {

constexpr mode_t kFolderMode = 0700;
constexpr mode_t kFileMode = 0600;
constexpr const char* kTemporaryPrefix = "new-";  // no Uuid, so list() and read() pass over it

Result<bool> is_ramfs(int fd) {
  struct statfs fs{};
  if (::fstatfs(fd, &fs) != 0) return fail_errno("cannot look at the journal's file system", errno);
  return static_cast<unsigned long>(fs.f_type) == RAMFS_MAGIC;
}

Result<void> check_folder(int fd) {
  struct stat st{};
  if (::fstat(fd, &st) != 0) return fail_errno("cannot look at the journal folder", errno);
  if (st.st_uid != ::geteuid())
    return fail(ErrorCode::permission, "the journal folder belongs to somebody else");
  if ((st.st_mode & 07777) != kFolderMode)
    return fail(ErrorCode::permission, "others may reach into the journal folder", "chmod 0700 it");
  return {};
}

Result<UniqueFd> open_folder(const std::string& path) {
  UniqueFd dir(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!dir) return fail_errno("cannot open the journal folder " + path, errno);
  return dir;
}

Result<void> write_at(int fd, ByteView bytes, std::size_t offset) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("cannot write a journal", errno);
    offset += static_cast<std::size_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

// Into memory of our own: the worker could change or truncate the file under a mapping.
Result<void> read_at(int fd, MutableByteView out, std::size_t offset) {
  while (!out.empty()) {
    const ssize_t n = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("cannot read a journal", errno);
    if (n == 0) return fail(ErrorCode::corrupt, "journal: truncated");
    offset += static_cast<std::size_t>(n);
    out = out.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

struct SlotHeader {
  std::uint64_t commit_number = 0;
  std::size_t length = 0;
};

Result<SlotHeader> read_slot_header(int fd, std::size_t index) {
  std::array<std::byte, kSlotHeader> raw{};
  VTPM_CHECK(read_at(fd, raw, slot_offset(index)));
  SlotHeader slot;
  std::memcpy(&slot.commit_number, raw.data(), sizeof slot.commit_number);
  slot.length = load_be32(raw.data() + sizeof slot.commit_number);
  if (slot.commit_number != 0 &&
      (slot.length > kMaxEncoded || slot.commit_number % kSlots != index))
    return fail(ErrorCode::corrupt, "journal: impossible slot");
  return slot;
}

// Adds what was executed since `commit_number`.
Result<void> add_redo(int fd, std::uint64_t commit_number, Checkpoint& checkpoint) {
  SecretBytes area(kRedoSize);
  VTPM_CHECK(read_at(fd, area, kRedoOffset));
  std::size_t size = encoded_size(checkpoint.redo);
  for (std::size_t at = 0; at + sizeof commit_number <= area.size();) {
    std::uint64_t word = 0;
    std::memcpy(&word, area.data() + at, sizeof word);
    if (word != commit_number) return {};
    Reader in(ByteView(area).subspan(at + sizeof word));
    const std::size_t length = in.u32();
    Reader entry(in.bytes(length));
    const std::uint64_t sequence = entry.u64();
    Redo redo = read_redo(entry);
    size += encoded_size(redo);
    if (!in.ok() || !entry.done() || sequence <= checkpoint.sequence || size > kMaxRedo ||
        redo.reply.size() > kMaxReply)
      return fail(ErrorCode::corrupt, "journal: an impossible command to be redone");
    checkpoint.sequence = sequence;
    checkpoint.reply = redo.reply;
    checkpoint.redo.push_back(std::move(redo));
    at = behind(at, length);
  }
  return {};
}

// The newest slot that counts must be sound. The older one is no substitute: a worker that could
// spoil its newest checkpoint would choose to be rolled back.
Result<std::optional<Checkpoint>> read_newest(int fd, const Header& header, bool with_redo) {
  VTPM_TRY(const SlotHeader first, read_slot_header(fd, 0));
  VTPM_TRY(const SlotHeader second, read_slot_header(fd, 1));
  const SlotHeader& newest = first.commit_number > second.commit_number ? first : second;
  if (newest.commit_number == 0) return std::nullopt;
  SecretBytes encoded(newest.length);
  VTPM_CHECK(read_at(fd, encoded, slot_offset(newest.commit_number) + kSlotHeader));
  VTPM_TRY(Checkpoint checkpoint, decode_checkpoint(encoded));
  if (!check(header, checkpoint))
    return fail(ErrorCode::corrupt, "journal: a checkpoint that does not belong here");
  if (with_redo) VTPM_CHECK(add_redo(fd, newest.commit_number, checkpoint));
  return checkpoint;
}

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

}  // namespace

Result<Folder> Folder::open(const std::string& path, bool allow_any_filesystem) {
  VTPM_TRY(UniqueFd dir, open_folder(path));
  VTPM_CHECK(check_folder(dir.get()));
  if (!allow_any_filesystem) {
    VTPM_TRY(const bool ramfs, is_ramfs(dir.get()));
    if (!ramfs)
      return fail(ErrorCode::failed_precondition, "the journal folder " + path + " is no ramfs",
                  "volatile TPM state must not reach a disk or swap: mount -t ramfs -o mode=0700");
  }
  return Folder(std::move(dir));
}

Result<void> Folder::mount_ramfs(const std::string& path) {
  if (::mkdir(path.c_str(), kFolderMode) != 0 && errno != EEXIST)
    return fail_errno("cannot make the journal folder " + path, errno);
  VTPM_TRY(const UniqueFd dir, open_folder(path));
  VTPM_TRY(const bool ramfs, is_ramfs(dir.get()));
  if (ramfs) return check_folder(dir.get());
  // Through the descriptor: the path may have changed its meaning since it was looked at.
  const std::string target = "/proc/self/fd/" + std::to_string(dir.get());
  if (::mount("vtpm-journal", target.c_str(), "ramfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "mode=0700") != 0)
    return fail_errno("cannot mount a ramfs on " + path, errno, "it needs CAP_SYS_ADMIN");
  return {};
}

Result<UniqueFd> Folder::create(const Header& header, const Checkpoint* first) {
  const std::string name = header.device.to_string();
  const std::string temporary = kTemporaryPrefix + name;
  if (::unlinkat(dir_.get(), temporary.c_str(), 0) != 0 && errno != ENOENT)
    return fail_errno("cannot remove a half-made journal", errno);
  UniqueFd file(::openat(dir_.get(), temporary.c_str(),
                         O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kFileMode));
  if (!file) return fail_errno("cannot make a journal", errno);
  auto filled = [&]() -> Result<void> {
    if (::ftruncate(file.get(), static_cast<off_t>(kFileSize)) != 0)
      return fail_errno("cannot size a journal", errno);
    VTPM_CHECK(write_at(file.get(), encode_header(header), 0));
    if (first != nullptr) {
      VTPM_CHECK(check(header, *first));
      const SecretBytes encoded = encode(*first);
      const std::uint64_t number = 1;
      std::array<std::byte, kSlotHeader> slot{};
      std::memcpy(slot.data(), &number, sizeof number);
      store_be32(slot.data() + sizeof number, static_cast<std::uint32_t>(encoded.size()));
      VTPM_CHECK(write_at(file.get(), slot, slot_offset(number)));
      VTPM_CHECK(write_at(file.get(), encoded, slot_offset(number) + kSlotHeader));
    }
    if (::renameat(dir_.get(), temporary.c_str(), dir_.get(), name.c_str()) != 0)
      return fail_errno("cannot put a journal in place", errno);
    return {};
  }();
  if (!filled) {
    (void)::unlinkat(dir_.get(), temporary.c_str(), 0);
    return tl::unexpected<Error>(std::move(filled).error());
  }
  return file;
}

Result<std::optional<Folder::Found>> Folder::read(const Uuid& device) const {
  // O_NONBLOCK: a FIFO in the place of a journal must not hold us.
  const UniqueFd file(::openat(dir_.get(), device.to_string().c_str(),
                               O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file && errno == ENOENT) return std::nullopt;
  if (!file) return fail_errno("cannot open a journal", errno);
  struct stat st{};
  if (::fstat(file.get(), &st) != 0) return fail_errno("cannot look at a journal", errno);
  const bool with_redo = st.st_size == static_cast<off_t>(kFileSize);
  const bool of_version_1 = st.st_size == static_cast<off_t>(kRedoOffset);
  if (!S_ISREG(st.st_mode) || st.st_uid != ::geteuid() || !(with_redo || of_version_1))
    return fail(ErrorCode::corrupt, "journal: not a file that we made");
  Bytes page(kPageSize);
  VTPM_CHECK(read_at(file.get(), page, 0));
  Found found;
  VTPM_TRY(found.header, decode_header(page, of_version_1 ? kVersionWithoutRedo : kVersion));
  if (found.header.device != device)
    return fail(ErrorCode::corrupt, "journal: it is another device's");
  VTPM_TRY(found.newest, read_newest(file.get(), found.header, with_redo));
  return found;
}

Result<void> Folder::compact(const Uuid& device) {
  VTPM_TRY(const auto found, read(device));
  if (!found || !found->newest) return {};
  VTPM_CHECK(create(found->header, &*found->newest));
  return {};
}

Result<void> Folder::remove(const Uuid& device) {
  const std::string name = device.to_string();
  for (const std::string& victim : {name, kTemporaryPrefix + name})
    if (::unlinkat(dir_.get(), victim.c_str(), 0) != 0 && errno != ENOENT)
      return fail_errno("cannot remove a journal", errno);
  return {};
}

Result<std::vector<Uuid>> Folder::list() const {
  // A fresh open file description: a shared one would share its position with the last list().
  UniqueFd fd(::openat(dir_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail_errno("cannot open the journal folder", errno);
  const std::unique_ptr<DIR, CloseDir> dir(::fdopendir(fd.get()));
  if (!dir) return fail_errno("cannot list the journal folder", errno);
  (void)fd.release();
  std::vector<Uuid> devices;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir.get());
    if (entry == nullptr && errno != 0) return fail_errno("cannot list the journal folder", errno);
    if (entry == nullptr) return devices;
    const auto device = Uuid::parse(entry->d_name);
    if (!device || device->to_string() != entry->d_name) continue;
    struct stat st{};
    if (::fstatat(dir_.get(), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
      continue;
    devices.push_back(*device);
  }
}

}  // namespace vtpm::journal
