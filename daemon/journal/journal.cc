// SPDX-License-Identifier: Apache-2.0
// The worker's side.
#include "journal/journal.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <limits>
#include <utility>

#include "journal/layout.h"

namespace vtpm::journal {
namespace {

// The commit word of a slot or of a command to be redone. They begin on multiples of 8.
std::atomic_ref<std::uint64_t> commit_word(std::byte* place) {
  return std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(place));
}
static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);

}  // namespace

Result<Journal> Journal::map(UniqueFd file) {
  struct stat st{};
  if (::fstat(file.get(), &st) != 0) return fail_errno("cannot look at the journal", errno);
  if (!S_ISREG(st.st_mode) || static_cast<std::size_t>(st.st_size) != kFileSize)
    return fail(ErrorCode::corrupt, "journal: wrong size");
  void* base = ::mmap(nullptr, kFileSize, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (base == MAP_FAILED) return fail_errno("cannot map the journal", errno);
  Journal journal;
  journal.base_ = static_cast<std::byte*>(base);
  // A core dump of the worker must not hold what the ramfs keeps off the disk.
  (void)::madvise(base, kFileSize, MADV_DONTDUMP);
  VTPM_TRY(journal.header_, decode_header({journal.base_, kPageSize}));
  for (std::uint64_t i = 0; i < kSlots; ++i)
    journal.commits_ =
        std::max(journal.commits_,
                 commit_word(journal.base_ + slot_offset(i)).load(std::memory_order_relaxed));
  return journal;
}

Journal::Journal(Journal&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)),
      commits_(other.commits_),
      redo_(other.redo_),
      header_(other.header_) {}

Journal& Journal::operator=(Journal&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(commits_, other.commits_);
  std::swap(redo_, other.redo_);
  std::swap(header_, other.header_);
  return *this;
}

Journal::~Journal() {
  if (base_ != nullptr) ::munmap(base_, kFileSize);
}

Result<void> Journal::commit(const Checkpoint& checkpoint) {
  VTPM_CHECK(check(header_, checkpoint));
  const std::size_t size = encoded_size(checkpoint);
  if (size > kMaxEncoded)
    return fail(ErrorCode::too_large, "journal: the checkpoint is over its limit");

  // Behind the last number comes 0, which is an empty slot.
  if (commits_ == std::numeric_limits<std::uint64_t>::max())
    return fail(ErrorCode::full, "journal: there is no number left for a commit");
  const std::uint64_t number = commits_ + 1;
  std::byte* slot = base_ + slot_offset(number);
  const std::atomic_ref<std::uint64_t> word = commit_word(slot);

  // 1. The slot stops counting. The older checkpoint in it is given up, the newer one is in the
  //    other slot. The fence keeps the stores below from moving above this one: whoever sees any
  //    byte of the new content also sees the zero. (A reader comes only after this process is dead,
  //    and the kernel has seen its stores in program order by then; so what matters on the way
  //    there is the compiler, and on a machine with weaker order the fence does the same.)
  word.store(0, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);

  // 2. The content.
  store_be32(slot + sizeof(std::uint64_t), static_cast<std::uint32_t>(size));
  SpanBuffer content({slot + kSlotHeader, size});
  SpanWriter writer(content);
  write(writer, checkpoint);

  // 3. The slot counts. A release store: the content is written before it.
  word.store(number, std::memory_order_release);
  commits_ = number;
  redo_ = 0;
  return {};
}

bool Journal::append(std::uint64_t sequence, const RedoView& redo) {
  if (!redo_) return false;
  const std::size_t length = sizeof sequence + encoded_size(redo);
  const std::size_t next = behind(*redo_, length);
  if (next + sizeof(std::uint64_t) > kRedoSize) return false;
  std::byte* const area = base_ + kRedoOffset;

  // As a commit: the end of the list moves first, then the content comes, then it counts.
  commit_word(area + next).store(0, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  std::byte* const entry = area + *redo_;
  store_be32(entry + sizeof(std::uint64_t), static_cast<std::uint32_t>(length));
  SpanBuffer content({entry + kRedoHeader, length});
  SpanWriter writer(content);
  write_redo(writer.u64(sequence), redo);
  commit_word(entry).store(commits_, std::memory_order_release);
  redo_ = next;
  return true;
}

}  // namespace vtpm::journal
