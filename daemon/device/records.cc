// SPDX-License-Identifier: Apache-2.0
#include "device/records.h"

#include <fmt/format.h>

#include <utility>

namespace vtpm::device {

using store::Record;
using store::Store;
using store::Version;

Result<void> Records::check(const Record& record) {
  VTPM_TRY(const std::uint64_t run, vault_.check_voucher(record));
  if (run != run_)
    return fail(
        ErrorCode::corrupt,
        fmt::format("the record was put back: it is of run {} of vtpmd, this is {}", run, run_),
        "'vtpmctl delete' removes the device, or restore the store from a backup");
  const auto seen = known_.find(record.uuid);
  if (seen != known_.end() && seen->second.voucher != record.voucher)
    return fail(ErrorCode::corrupt, "the store holds another record than this vtpmd has written",
                "somebody put an old record back: restart vtpmd to see what the store holds");
  return {};
}

// A record without the bulk of what is sealed in it.
void Records::learn(Record record) {
  for (Bytes* sealed : {&record.state.bytes, &record.lineage})
    if (sealed->size() > store::kSealTagSize)
      *sealed = to_bytes(ByteView(*sealed).last(store::kSealTagSize));
  known_[record.uuid] = std::move(record);
}

Result<Record> Records::known(const Uuid& uuid) {
  if (const auto seen = known_.find(uuid); seen != known_.end()) return seen->second;
  VTPM_CHECK(get(uuid));
  return known_.at(uuid);
}

template <class T>
Result<T> Records::learn_if_done(Record record, Result<T> done) {
  if (done)
    learn(std::move(record));
  else if (done.error().code == ErrorCode::unknown_outcome)
    known_.erase(record.uuid);  // either may be there: the next read says which
  return done;
}

Result<void> Records::create(Record record) {
  VTPM_TRY(record.voucher, vault_.vouch(record, run_));
  auto done = store_.create(record);
  return learn_if_done(std::move(record), std::move(done));
}

Result<Record> Records::get(const Uuid& uuid) {
  VTPM_TRY(Record record, store_.get(uuid));
  VTPM_CHECK(check(record));
  learn(record);
  return record;
}

Result<std::vector<Store::Entry>> Records::list(const std::string& after, std::size_t limit) {
  VTPM_TRY(auto entries, store_.list(after, limit));
  for (Store::Entry& entry : entries) {
    if (!entry.record) continue;
    if (auto sound = check(*entry.record); !sound)
      entry.record = tl::unexpected<Error>(std::move(sound).error());
    else
      learn(*entry.record);
  }
  return entries;
}

Result<Version> Records::acquire(const Uuid& uuid, const Version& expected,
                                 const std::string& new_owner) {
  VTPM_TRY(Record next, known(uuid));
  next.version = {new_owner, expected.epoch + 1, expected.generation};
  VTPM_TRY(next.voucher, vault_.vouch(next, run_));
  auto done = store_.acquire(uuid, expected, new_owner, next.voucher);
  return learn_if_done(std::move(next), std::move(done));
}

std::vector<Result<Version>> Records::commit_all(std::vector<Store::CommitRequest> requests) {
  const auto vouch_for = [this](Store::CommitRequest& request) -> Result<Record> {
    VTPM_TRY(Record next, known(request.uuid));
    next.version = request.expected;
    next.version.generation++;
    if (!request.wrapped_key.empty() || request.state.bytes.empty())
      next.wrapped_key = request.wrapped_key;
    next.state = request.state;
    if (request.mode != 0) next.settings.mode = request.mode;
    if (!request.lineage.empty() || request.state.bytes.empty()) next.lineage = request.lineage;
    if (request.role) next.settings.role = *request.role;
    VTPM_TRY(next.voucher, vault_.vouch(next, run_));
    request.voucher = next.voucher;
    return next;
  };
  std::vector<Result<Version>> results(requests.size(), Version{});
  std::vector<Store::CommitRequest> good;
  std::vector<std::pair<std::size_t, Record>> after;  // by place in `requests`
  for (std::size_t i = 0; i < requests.size(); i++) {
    auto next = vouch_for(requests[i]);
    if (!next) {
      results[i] = tl::unexpected<Error>(std::move(next).error());
      continue;
    }
    good.push_back(std::move(requests[i]));
    after.emplace_back(i, *std::move(next));
  }
  auto done = store_.commit_all(good);
  for (std::size_t i = 0; i < done.size(); i++)
    results[after[i].first] = learn_if_done(std::move(after[i].second), std::move(done[i]));
  return results;
}

Result<void> Records::set_powered(const Uuid& uuid, const Version& expected, bool powered) {
  VTPM_TRY(Record next, known(uuid));
  next.version = expected;
  next.powered = powered;
  VTPM_TRY(next.voucher, vault_.vouch(next, run_));
  auto done = store_.set_powered(uuid, expected, powered, next.voucher);
  return learn_if_done(std::move(next), std::move(done));
}

Result<void> Records::set_failure(const Uuid& uuid, const Version& expected,
                                  const std::string& reason) {
  VTPM_TRY(Record next, known(uuid));
  next.version = expected;
  next.failure = reason;
  VTPM_TRY(next.voucher, vault_.vouch(next, run_));
  auto done = store_.set_failure(uuid, expected, reason, next.voucher);
  return learn_if_done(std::move(next), std::move(done));
}

Result<void> Records::set_settings(const Uuid& uuid, const Version& expected,
                                   const store::Settings& settings) {
  VTPM_TRY(Record next, known(uuid));
  next.version = expected;
  next.settings.owner = settings.owner;
  next.settings.park_after_s = settings.park_after_s;
  next.settings.cert_profile = settings.cert_profile;
  VTPM_TRY(next.voucher, vault_.vouch(next, run_));
  auto done = store_.set_settings(uuid, expected, settings, next.voucher);
  return learn_if_done(std::move(next), std::move(done));
}

Result<void> Records::succeed(Store::Succession succession) {
  VTPM_TRY(Record retired, known(succession.retired));
  retired.version = succession.expected;
  retired.version.generation++;
  retired.settings.name = succession.retired_name;
  retired.settings.role = store::Role::retired;
  retired.wrapped_key = succession.wrapped_key;
  retired.lineage = succession.lineage;
  retired.state = {};
  retired.powered = false;
  retired.failure.clear();
  VTPM_TRY(retired.voucher, vault_.vouch(retired, run_));
  succession.voucher = retired.voucher;
  VTPM_TRY(succession.successor.voucher, vault_.vouch(succession.successor, run_));
  auto done = store_.succeed(succession);
  if (!done && done.error().code == ErrorCode::unknown_outcome) {
    // All of it is there, or nothing.
    const auto there = store_.get(succession.successor.uuid);
    if (there) done = {};
    if (!there && there.error().code == ErrorCode::not_found)
      done = fail(ErrorCode::unavailable, done.error().message, "try again");
  }
  if (done)
    for (const auto& [uuid, version] : succession.gone) known_.erase(uuid);
  VTPM_CHECK(learn_if_done(std::move(succession.successor), done));
  return learn_if_done(std::move(retired), std::move(done));
}

Result<void> Records::relearn() {
  known_.clear();
  return for_each_entry(*this, [](const Store::Entry&) {});  // list() learns
}

Result<void> Records::remove(const Uuid& uuid, const Version& expected,
                             const store::Withdrawn& withdrawn) {
  VTPM_CHECK(store_.remove(uuid, expected, withdrawn));
  known_.erase(uuid);
  return {};
}

Result<void> Records::discard(const Uuid& uuid) {
  VTPM_CHECK(store_.discard(uuid));
  known_.erase(uuid);
  return {};
}

}  // namespace vtpm::device
