// SPDX-License-Identifier: Apache-2.0
// Which checkpoint counts after a worker's death: every combination of journal and store, against a
// second reading of the rules in Documentation/design/checkpoint.rst, written from there.
//
// Numbers are small, so that what has to be equal or next to each other often is.
#include "device/recovery.h"

#include <array>
#include <cstdint>
#include <optional>
#include <tuple>

#include "check.h"

namespace vtpm::fuzz {
namespace {

using device::RecoveryInput;

constexpr std::uint64_t kFew = 4;

Checkpoint read_checkpoint(Reader& in, std::string_view mark) {
  Checkpoint c;
  const std::uint8_t form = in.u8();
  c.boot_id.fill(std::byte{static_cast<std::uint8_t>(form & 1)});
  if ((form & 2) != 0) c.permanent = to_secret(as_bytes(mark));
  if ((form & 4) != 0) c.volatile_state = to_secret(as_bytes(mark));
  const bool large = (form & 8) != 0;
  for (std::uint64_t* number : {&c.incarnation, &c.sequence, &c.permanent_version})
    *number = large ? in.u64() : in.u8() % kFew;
  return c;
}

// Which of both it is: the worker's, or the store's. The numbers are those of the list.
enum class Answer : std::uint8_t { journal, store, gone, corrupt };

Answer by_the_rules(const RecoveryInput& in) {
  std::optional<Checkpoint> journal;
  if (in.journal && in.journal->header.boot_id == in.boot_id) journal = in.journal->newest;  // 1
  if (journal && journal->boot_id != in.boot_id) journal.reset();
  if (in.read_only) {
    if (!journal || journal->volatile_state.empty()) return Answer::gone;
    return journal->permanent.empty() ? Answer::corrupt : Answer::journal;
  }
  if (!in.stored) return Answer::gone;                                           // 2
  if (in.stored->permanent_version != in.store_version) return Answer::corrupt;  // 3
  if (!journal) return Answer::gone;                                             // 4
  if (journal->permanent_version > in.store_version) return Answer::corrupt;     // 5
  const bool warm = in.stored->boot_id == in.boot_id && !in.stored->volatile_state.empty();
  const auto earlier = [](const Checkpoint& a, const Checkpoint& b) {
    if (a.incarnation != b.incarnation) return a.incarnation < b.incarnation;
    if (a.sequence != b.sequence) return a.sequence < b.sequence;
    return a.permanent_version < b.permanent_version;
  };
  if (warm && earlier(*journal, *in.stored)) return Answer::store;            // 6
  if (journal->permanent_version < in.store_version) return Answer::corrupt;  // 7
  return journal->volatile_state.empty() ? Answer::gone : Answer::journal;    // 8, 9
}

void check(const RecoveryInput& in) {
  const Answer expected = by_the_rules(in);
  const auto found = device::newest_checkpoint(in);
  FUZZ_CHECK(found.has_value() == (expected == Answer::journal || expected == Answer::store));
  if (!found) {
    FUZZ_CHECK(found.error().code ==
               (expected == Answer::gone ? ErrorCode::not_found : ErrorCode::corrupt));
    return;
  }
  const Checkpoint& from = expected == Answer::store ? *in.stored : *in.journal->newest;
  FUZZ_CHECK(found->boot_id == in.boot_id && found->incarnation == from.incarnation &&
             found->sequence == from.sequence && found->volatile_state == from.volatile_state &&
             !found->volatile_state.empty());
  // A read-write device's permanent part is the store's, whatever a worker wrote into its journal.
  FUZZ_CHECK(found->permanent == (in.read_only ? from.permanent : in.stored->permanent));
}

}  // namespace
}  // namespace vtpm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vtpm::Reader in({reinterpret_cast<const std::byte*>(data), size});
  vtpm::device::RecoveryInput input;
  const std::uint8_t form = in.u8();
  input.boot_id.fill(std::byte{static_cast<std::uint8_t>(form & 1)});
  input.read_only = (form & 2) != 0;
  input.store_version = in.u8() % vtpm::fuzz::kFew;
  if ((form & 4) != 0) input.stored = vtpm::fuzz::read_checkpoint(in, "store");
  if (input.stored && (form & 8) != 0) input.store_version = input.stored->permanent_version;
  if ((form & 16) != 0) {
    input.journal.emplace();
    input.journal->header.boot_id.fill(std::byte{static_cast<std::uint8_t>(form >> 7)});
    if ((form & 32) != 0) input.journal->newest = vtpm::fuzz::read_checkpoint(in, "journal");
  }
  vtpm::fuzz::check(input);
  return 0;
}
