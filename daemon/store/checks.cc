// SPDX-License-Identifier: Apache-2.0
#include "store/checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace vtpm::store {
namespace {

constexpr std::uint64_t kMaxCounter =
    std::numeric_limits<std::int64_t>::max();  // as databases have

bool alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

Result<void> check_counter(std::uint64_t value, const char* what) {
  if (value > kMaxCounter)
    return fail(ErrorCode::invalid_argument, fmt::format("{} {} is out of range", what, value));
  return {};
}

Result<void> check_size(std::size_t size, std::size_t limit, const char* what) {
  if (size > limit)
    return fail(ErrorCode::too_large,
                fmt::format("{} has {} bytes, the limit is {}", what, size, limit));
  return {};
}

Result<void> check_blob(const SealedBlob& state, ByteView wrapped_key) {
  VTPM_CHECK(check_size(state.bytes.size(), kMaxStateBlob, "sealed state"));
  VTPM_CHECK(check_size(wrapped_key.size(), kMaxWrappedKey, "wrapped key"));
  VTPM_CHECK(check_counter(state.epoch, "epoch of the sealed state"));
  return check_counter(state.generation, "generation of the sealed state");
}

}  // namespace

bool valid_name(const std::string& name) {
  return !name.empty() && name.size() <= 63 && alphanumeric(name.front()) &&
         std::ranges::all_of(
             name, [](char c) { return alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
}

bool valid_snapshot_name(const std::string& name) {
  const std::size_t at = name.find('@');
  return at != std::string::npos && valid_name(name.substr(0, at)) &&
         valid_name(name.substr(at + 1));
}

Result<void> check_text(const std::string& text, const char* what) {
  VTPM_CHECK(check_size(text.size(), kMaxText, what));
  if (text.find('\0') != std::string::npos)
    return fail(ErrorCode::invalid_argument, fmt::format("{} holds a NUL character", what));
  return {};
}

Result<void> check_version(const Version& version) {
  VTPM_CHECK(check_text(version.owner, "id of the manager"));
  VTPM_CHECK(check_counter(version.epoch, "epoch"));
  return check_counter(version.generation, "generation");
}

Result<void> check_expected(const Version& expected) {
  VTPM_CHECK(check_version(expected));
  if (expected.epoch == kMaxCounter || expected.generation == kMaxCounter)
    return fail(ErrorCode::invalid_argument, "the counters of the device are used up",
                "make a new device");
  return {};
}

Result<void> check_voucher(ByteView voucher) {
  return check_size(voucher.size(), kMaxVoucher, "voucher");
}

Result<void> check_note(ByteView note) { return check_size(note.size(), kMaxNote, "note"); }

Result<void> check_withdrawn(const Withdrawn& withdrawn) {
  VTPM_CHECK(check_counter(withdrawn.number, "number of what is withdrawn"));
  return check_size(withdrawn.content.size(), kMaxWithdrawn, "what is withdrawn");
}

Result<void> check_record(const Record& record) {
  if (record.uuid.is_nil()) return fail(ErrorCode::invalid_argument, "the uuid is all zero");
  const Settings& s = record.settings;
  const bool named = s.role == Role::snapshot ? valid_snapshot_name(s.name) : valid_name(s.name);
  if (!named)
    return fail(ErrorCode::invalid_argument,
                s.role == Role::snapshot ? "not a snapshot's name" : "not a device name",
                "use 1 to 63 of A-Z a-z 0-9 . _ - and begin with a letter or digit");
  VTPM_CHECK(check_text(s.owner, "owner"));
  VTPM_CHECK(check_text(s.socket_path, "path of the socket"));
  VTPM_CHECK(check_size(s.socket_path.size(), kMaxSocketPath, "path of the socket"));
  if (s.role < Role::device || s.role > Role::moved)
    return fail(ErrorCode::invalid_argument, "there is no such role");
  if (s.cert_profile > kMaxCertProfile)
    return fail(ErrorCode::invalid_argument, "there is no such profile of certificates");
  VTPM_CHECK(check_text(record.failure, "reason of the failure"));
  constexpr std::uint64_t kNanoseconds = 1000;  // of a microsecond: the API tells it in these
  if (record.taken_us > kMaxCounter / kNanoseconds)
    return fail(ErrorCode::invalid_argument, "the time of the snapshot is out of range");
  VTPM_CHECK(check_version(record.version));
  VTPM_CHECK(check_voucher(record.voucher));
  VTPM_CHECK(check_size(record.lineage.size(), kMaxLineage, "sealed lineage"));
  return check_blob(record.state, record.wrapped_key);
}

Result<void> check_commit(const Store::CommitRequest& request) {
  VTPM_CHECK(check_expected(request.expected));
  VTPM_CHECK(check_blob(request.state, request.wrapped_key));
  VTPM_CHECK(check_voucher(request.voucher));
  VTPM_CHECK(check_size(request.lineage.size(), kMaxLineage, "sealed lineage"));
  VTPM_CHECK(check_withdrawn(request.withdrawn));
  const bool sealed_for_it = request.state.epoch == request.expected.epoch &&
                             request.state.generation == request.expected.generation + 1;
  if (!request.state.bytes.empty() && !sealed_for_it)
    return fail(ErrorCode::invalid_argument,
                fmt::format("state was sealed for epoch {} generation {}, not for epoch {} "
                            "generation {}",
                            request.state.epoch, request.state.generation, request.expected.epoch,
                            request.expected.generation + 1));
  return {};
}

Result<void> check_succession(const Store::Succession& succession) {
  VTPM_CHECK(check_expected(succession.expected));
  if (!valid_name(succession.retired_name))
    return fail(ErrorCode::invalid_argument, "not a device name");
  VTPM_CHECK(check_size(succession.wrapped_key.size(), kMaxWrappedKey, "wrapped key"));
  VTPM_CHECK(check_size(succession.lineage.size(), kMaxLineage, "sealed lineage"));
  if (succession.lineage.empty())
    return fail(ErrorCode::invalid_argument, "a retired device keeps its lineage");
  VTPM_CHECK(check_voucher(succession.voucher));
  for (const auto& [uuid, version] : succession.gone) VTPM_CHECK(check_expected(version));
  return check_record(succession.successor);
}

Result<void> check_revision(const Store::Revision& revision) {
  VTPM_CHECK(check_version(revision.expected));
  VTPM_CHECK(check_size(revision.wrapped_key.size(), kMaxWrappedKey, "wrapped key"));
  return check_voucher(revision.voucher);
}

}  // namespace vtpm::store
