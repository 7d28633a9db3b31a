// SPDX-License-Identifier: Apache-2.0
// What vtpmd loads a device from: a journal that its dead worker could write all of, a checkpoint,
// and a sealed blob of the store.
//
//   0   UINT8   which of them
//   1   what it takes, as its function reads it
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>

#include "base/checkpoint.h"
#include "base/temporary_folder.h"
#include "check.h"
#include "journal/journal.h"
#include "journal/layout.h"
#include "store/sealing.h"

namespace vtpm::fuzz {
namespace {

void checkpoint(ByteView bytes) {
  const auto decoded = decode_checkpoint(bytes);
  if (!decoded) return;
  FUZZ_CHECK(std::ranges::equal(encode(*decoded), bytes));
  FUZZ_CHECK(!decode_checkpoint(bytes.first(bytes.size() - 1)));
}

// A sealed blob opens as what was sealed, and with anything else changed not at all.
void sealed(Reader in) {
  store::SealContext context;
  context.epoch = in.u64();
  context.generation = in.u64();
  const Bytes key(32, std::byte{in.u8()});
  const std::uint8_t change = in.u8();
  const std::uint32_t where = in.u32();
  const auto by = std::byte{in.u8()};
  const Bytes plain = to_bytes(in.rest());

  auto blob = store::seal(key, context, plain);
  FUZZ_CHECK(blob);
  Bytes other_key = key;
  switch (change % 7) {
    case 0: (*blob)[where % blob->size()] ^= by; break;
    case 1: context.device.bytes[where % 16] ^= by; break;
    case 2: context.epoch += std::to_integer<unsigned>(by); break;
    case 3: context.generation -= std::to_integer<unsigned>(by); break;
    case 4: other_key[where % 32] ^= by; break;
    case 5:
      blob->resize(blob->size() -
                   std::min<std::size_t>(std::to_integer<std::size_t>(by), blob->size()));
      break;
    default: blob->resize(blob->size() + std::to_integer<std::size_t>(by)); break;
  }
  const auto opened = store::unseal(other_key, context, *blob);
  FUZZ_CHECK(opened.has_value() == (by == std::byte{0}));
  if (!opened) return;
  FUZZ_CHECK(std::ranges::equal(*opened, plain));
  checkpoint(*opened);
}

// One journal file, written anew for each input.
class HostileFile {
 public:
  HostileFile() : folder_(open()) {
    const auto made = folder_->create(header(), nullptr);
    FUZZ_CHECK(made);
    file_.reset(
        ::open((path_.path() + "/" + header().device.to_string()).c_str(), O_RDWR | O_CLOEXEC));
    FUZZ_CHECK(file_);
  }
  static journal::Header header() {
    journal::Header h;
    h.device.bytes.fill(std::byte{7});
    h.boot_id.fill(std::byte{0xb0});
    h.incarnation = 5;
    return h;
  }
  void clear() {
    FUZZ_CHECK(::ftruncate(file_.get(), 0) == 0);
    FUZZ_CHECK(::ftruncate(file_.get(), static_cast<off_t>(journal::kFileSize)) == 0);
    put(journal::encode_header(header()), 0);
  }
  void put(ByteView bytes, std::size_t offset) {
    FUZZ_CHECK(::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)) ==
               static_cast<ssize_t>(bytes.size()));
  }
  auto read() { return folder_->read(header().device); }
  auto map() { return journal::Journal::map(UniqueFd(::fcntl(file_.get(), F_DUPFD_CLOEXEC, 3))); }

 private:
  std::optional<journal::Folder> open() {
    FUZZ_CHECK(::chmod(path_.path().c_str(), 0700) == 0);
    auto folder = journal::Folder::open(path_.path(), true);
    FUZZ_CHECK(folder);
    return *std::move(folder);
  }
  TemporaryFolder path_;
  std::optional<journal::Folder> folder_;
  UniqueFd file_;
};

struct Slot {
  std::uint64_t word = 0;
  std::uint32_t length = 0;
  Bytes content;
};

Slot read_slot(Reader& in) {
  Slot slot;
  const std::uint8_t form = in.u8();
  slot.word = (form & 1) != 0 ? in.u64() : in.u8();
  const std::size_t size = in.u16();
  slot.content = to_bytes(take(in, size));
  slot.length = (form & 2) != 0 ? in.u32() : static_cast<std::uint32_t>(slot.content.size());
  return slot;
}

void put_slot(HostileFile& file, const Slot& slot, std::size_t index) {
  Bytes head(journal::kSlotHeader);
  std::memcpy(head.data(), &slot.word, sizeof slot.word);
  store_be32(head.data() + 8, slot.length);
  file.put(head, journal::slot_offset(index));
  file.put(slot.content, journal::slot_offset(index) + head.size());
}

bool possible(const Slot& slot, std::size_t index) {
  return slot.word == 0 || (slot.length <= journal::kMaxEncoded && slot.word % 2 == index);
}

// The commands behind slot `number`, read a second time: where each begins and ends is told by what
// was found, and no byte of it may stand otherwise in the file.
void check_redo(const Checkpoint& found, std::size_t first, std::uint64_t number, ByteView area) {
  std::size_t at = 0;
  for (std::size_t i = first; i < found.redo.size(); ++i) {
    const Redo& redo = found.redo[i];
    Bytes expected;
    Writer(expected).u8(redo.locality).sized32(redo.command).sized32(redo.reply);
    const std::size_t length = 8 + expected.size();
    FUZZ_CHECK(at + 12 + length <= area.size());
    FUZZ_CHECK(std::memcmp(area.data() + at, &number, sizeof number) == 0);
    FUZZ_CHECK(load_be32(area.data() + at + 8) == length);
    FUZZ_CHECK(std::ranges::equal(area.subspan(at + 20, expected.size()), expected));
    if (i + 1 == found.redo.size())
      FUZZ_CHECK(load_be64(area.data() + at + 12) == found.sequence && found.reply == redo.reply);
    at = (at + 12 + length + 7) / 8 * 8;
  }
  if (at + 8 <= area.size())  // the list ends where the number does
    FUZZ_CHECK(std::memcmp(area.data() + at, &number, sizeof number) != 0);
}

// A second reading of the rules: both slots possible, the newer one sound, or nothing.
void check_found(const journal::Folder::Found& found, const Slot& first, const Slot& second,
                 ByteView area) {
  FUZZ_CHECK(possible(first, 0) && possible(second, 1));
  const Slot& newest = first.word > second.word ? first : second;
  FUZZ_CHECK(found.newest.has_value() == (newest.word != 0));
  if (!found.newest) return;
  Bytes content = newest.content;
  content.resize(newest.length);  // the rest of the slot is zero
  auto base = decode_checkpoint(content);
  FUZZ_CHECK(base && base->redo.size() <= found.newest->redo.size());
  check_redo(*found.newest, base->redo.size(), newest.word, area);
  if (base->redo.size() < found.newest->redo.size()) {
    base->redo = found.newest->redo;
    base->sequence = found.newest->sequence;
    base->reply = found.newest->reply;
  }
  FUZZ_CHECK(encode(*found.newest) == encode(*base));
  FUZZ_CHECK(found.newest->boot_id == found.header.boot_id);
  FUZZ_CHECK(found.newest->incarnation <= found.header.incarnation);
}

void journal_file(Reader in) {
  static HostileFile file;
  file.clear();
  const Slot first = read_slot(in);
  const Slot second = read_slot(in);
  put_slot(file, first, 0);
  put_slot(file, second, 1);
  const std::uint16_t at = in.u16();
  const Bytes over = to_bytes(take(in, 64));
  file.put(over, at % (journal::kPageSize - 64));
  Bytes area(journal::kRedoSize);
  const ByteView rest = in.rest();
  std::ranges::copy(rest.first(std::min(rest.size(), area.size())), area.begin());
  file.put(area, journal::kRedoOffset);

  const auto found = file.read();
  if (!found) return;
  FUZZ_CHECK(found->has_value());
  check_found(**found, first, second, area);

  // A worker that goes on with it: what it commits is what is found, and the one before is not.
  // (A file that a worker is given has no list of commands: the manager has just made it.)
  file.put(Bytes(journal::kRedoSize), journal::kRedoOffset);
  auto mapped = file.map();
  if (!mapped) return;
  Checkpoint next;
  next.boot_id = (*found)->header.boot_id;
  next.incarnation = (*found)->header.incarnation;
  for (next.sequence = 100; next.sequence < 110; ++next.sequence) {
    if (!mapped->commit(next)) return;
    const auto now = file.read();
    FUZZ_CHECK(now && *now && (*now)->newest && (*now)->newest->sequence == next.sequence);
    FUZZ_CHECK((*now)->newest->redo.empty());
    const Redo redo{1, to_secret(rest.first(std::min<std::size_t>(rest.size(), 900))), {}};
    for (int i = 0; i < 3 && mapped->append(++next.sequence, redo); ++i) {
      const auto more = file.read();
      FUZZ_CHECK(more && *more && (*more)->newest->sequence == next.sequence);
      FUZZ_CHECK((*more)->newest->redo.back().command == redo.command);
    }
  }
}

void header_page(ByteView bytes) {
  Bytes page = to_bytes(bytes.first(std::min(bytes.size(), journal::kPageSize)));
  page.resize(journal::kPageSize);
  if (const auto header = journal::decode_header(page))
    FUZZ_CHECK(journal::encode_header(*header) == page);
  FUZZ_CHECK(!journal::decode_header(ByteView(page).first(page.size() - 1)));
}

}  // namespace
}  // namespace vtpm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const vtpm::Bytes exact(reinterpret_cast<const std::byte*>(data) + 1,
                          reinterpret_cast<const std::byte*>(data) + size);
  switch (data[0] % 4) {
    case 0: vtpm::fuzz::checkpoint(exact); break;
    case 1: vtpm::fuzz::sealed(vtpm::Reader(exact)); break;
    case 2: vtpm::fuzz::header_page(exact); break;
    default: vtpm::fuzz::journal_file(vtpm::Reader(exact)); break;
  }
  return 0;
}
