// SPDX-License-Identifier: Apache-2.0
#include "store/store_contract.h"

#include <gmock/gmock.h>

#include <functional>
#include <limits>

namespace vtpm::store {
namespace {

using ::testing::HasSubstr;

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StoreContract);

const Version kHeld{"manager-a", 1, 0};  // what acquire() of a fresh record gives

TEST_P(StoreContract, GivesBackWhatWasCreated) {
  Record r = test_record(1);
  r.settings = {"n.1_x-Y", "vm \"7\" \xc3\xa4\n", 3, 2, 2, "/run/x y", true, 4000000000U, 1, 600};
  r.taken_us = 1234567890123456;
  r.version = {"manager-a", 7, 9};
  r.wrapped_key = to_bytes(as_bytes("wrapped"));
  r.state = test_blob({"", 7, 8}, 5000);
  r.powered = true;
  r.failure = "volatile state lost";
  r.voucher = to_bytes(as_bytes("voucher"));
  ASSERT_OK(store().create(r));
  ASSERT_OK(store().create(test_record(2)));
  reopen();
  const auto back = store().get(r.uuid);
  ASSERT_TRUE(back.has_value()) << back.error().message;
  expect_same(*back, r);
  const auto plain = store().get(test_uuid(2));
  ASSERT_TRUE(plain.has_value());
  expect_same(*plain, test_record(2));
}

TEST_P(StoreContract, UuidsAndNamesAreUnique) {
  ASSERT_OK(store().create(test_record(1)));
  Record same_uuid = test_record(1);
  same_uuid.settings.name = "other";
  EXPECT_FAILS(store().create(same_uuid), exists);
  Record same_name = test_record(2);
  same_name.settings.name = test_record(1).settings.name;
  EXPECT_FAILS(store().create(same_name), exists);
  // Nothing of the refused ones stayed.
  EXPECT_FAILS(store().get(test_uuid(2)), not_found);
  EXPECT_EQ(*store().find("other"), std::nullopt);
  Record other_case = test_record(3);
  other_case.settings.name = "DEVICE-1";
  EXPECT_TRUE(store().create(other_case).has_value());
}

TEST_P(StoreContract, ARemovedUuidIsNeverUsedAgainButItsNameIs) {
  ASSERT_OK(store().create(test_record(1)));
  ASSERT_OK(store().remove(test_uuid(1), Version{}));
  EXPECT_FAILS(store().get(test_uuid(1)), not_found);
  EXPECT_FAILS(store().remove(test_uuid(1), Version{}), not_found);
  reopen();
  Record again = test_record(1);
  again.settings.name = "quite-new";
  EXPECT_FAILS(store().create(again), exists);
  Record heir = test_record(2);
  heir.settings.name = test_record(1).settings.name;
  EXPECT_TRUE(store().create(heir).has_value());
  EXPECT_TRUE(store().get(heir.uuid)->state.bytes.empty());
}

TEST_P(StoreContract, RefusesBadRecords) {
  const auto refused = [&](ErrorCode code, const std::function<void(Record&)>& spoil) {
    Record r = test_record(1);
    spoil(r);
    const auto result = store().create(r);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code, code) << result.error().message;
  };
  for (const std::string& name :
       {std::string(), std::string(64, 'a'), std::string(".a"), std::string("-a"),
        std::string("a/b"), std::string("a b"), std::string("a\nb"), std::string("a\0b", 3),
        std::string("\xc3\xa4"), std::string("../x")}) {
    EXPECT_FALSE(valid_name(name)) << name;
    refused(ErrorCode::invalid_argument, [&](Record& r) { r.settings.name = name; });
  }
  for (const char* name : {"a", "@b", "a@", "a@@b", "a@b@c", "a@-b", "a/@b"}) {
    EXPECT_FALSE(valid_snapshot_name(name)) << name;
    refused(ErrorCode::invalid_argument, [&](Record& r) {
      r.settings.role = Role::snapshot;
      r.settings.name = name;
    });
  }
  EXPECT_TRUE(valid_snapshot_name(std::string(63, 'a') + "@" + std::string(63, 'b')));
  refused(ErrorCode::invalid_argument, [](Record& r) { r.settings.name = "a@b"; });
  refused(ErrorCode::invalid_argument, [](Record& r) { r.settings.role = static_cast<Role>(8); });
  refused(ErrorCode::invalid_argument, [](Record& r) { r.taken_us = ~std::uint64_t{0}; });
  EXPECT_TRUE(valid_name(std::string(63, 'a')));
  EXPECT_TRUE(valid_name("0"));
  refused(ErrorCode::invalid_argument, [](Record& r) { r.uuid = Uuid{}; });
  refused(ErrorCode::invalid_argument, [](Record& r) { r.settings.owner = {"a\0b", 3}; });
  refused(ErrorCode::too_large, [](Record& r) { r.settings.owner.assign(kMaxText + 1, 'x'); });
  refused(ErrorCode::too_large, [](Record& r) { r.failure.assign(kMaxText + 1, 'x'); });
  refused(ErrorCode::too_large,
          [](Record& r) { r.settings.socket_path.assign(kMaxSocketPath + 1, 'x'); });
  refused(ErrorCode::too_large, [](Record& r) { r.voucher.resize(kMaxVoucher + 1); });
  refused(ErrorCode::too_large, [](Record& r) { r.wrapped_key.resize(kMaxWrappedKey + 1); });
  refused(ErrorCode::too_large, [](Record& r) { r.state.bytes.resize(kMaxStateBlob + 1); });
  for (const std::uint64_t counter : {std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    refused(ErrorCode::invalid_argument, [&](Record& r) { r.version.epoch = counter; });
    refused(ErrorCode::invalid_argument, [&](Record& r) { r.version.generation = counter; });
  }
  EXPECT_TRUE(store().list("", 10)->empty());
}

TEST_P(StoreContract, ListsInOrderOfNamesByPages) {
  EXPECT_TRUE(store().list("", 10)->empty());
  for (const char* name : {"b", "a", "B", "a.1", "a-1", "c0"}) {
    Record r =
        test_record(static_cast<unsigned>(name[0]) * 256U + static_cast<unsigned char>(name[1]));
    r.settings.name = name;
    ASSERT_OK(store().create(r));
  }
  const auto names = [&](const std::string& after, std::size_t limit) {
    std::vector<std::string> out;
    const auto records = store().list(after, limit);
    if (!records) return std::vector<std::string>{records.error().message};
    for (const Store::Entry& entry : *records) {
      EXPECT_TRUE(entry.record && entry.record->settings.name == entry.name &&
                  entry.record->uuid == entry.uuid);
      out.push_back(entry.name);
    }
    return out;
  };
  const std::vector<std::string> all{"B", "a", "a-1", "a.1", "b", "c0"};
  EXPECT_EQ(names("", 100), all);
  EXPECT_EQ(names("", std::numeric_limits<std::size_t>::max()), all);
  EXPECT_EQ(names("", 2), (std::vector<std::string>{"B", "a"}));
  EXPECT_EQ(names("a", 2), (std::vector<std::string>{"a-1", "a.1"}));
  EXPECT_EQ(names("a-9", 9), (std::vector<std::string>{"a.1", "b", "c0"}));  // need not exist
  EXPECT_TRUE(names("c0", 9).empty());
  EXPECT_TRUE(names("", 0).empty());
}

TEST_P(StoreContract, FindsByName) {
  ASSERT_OK(store().create(test_record(1)));
  EXPECT_EQ(*store().find("device-1"), test_uuid(1));
  EXPECT_EQ(*store().find("device-2"), std::nullopt);
  EXPECT_EQ(*store().find(""), std::nullopt);
  EXPECT_EQ(*store().find("' OR 1=1 --"), std::nullopt);
}

TEST_P(StoreContract, CountsEpochsAndGenerations) {
  ASSERT_OK(store().create(test_record(1)));
  const Uuid id = test_uuid(1);
  auto v = store().acquire(id, Version{}, "manager-a", {});
  ASSERT_TRUE(v.has_value());
  EXPECT_EQ(*v, kHeld);
  for (std::uint64_t generation = 1; generation <= 3; generation++) {
    const SealedBlob blob = test_blob(*v, 1000 * generation);
    v = store().commit(id, *v, blob, {}, {});
    ASSERT_TRUE(v.has_value()) << v.error().message;
    EXPECT_EQ(*v, (Version{"manager-a", 1, generation}));
    EXPECT_EQ(store().get(id)->state, blob);
  }
  const SealedBlob kept = store().get(id)->state;
  v = store().release(id, *v, {});
  ASSERT_TRUE(v.has_value());
  EXPECT_EQ(*v, (Version{"", 1, 3}));
  v = store().acquire(id, *v, "manager-b", {});
  ASSERT_TRUE(v.has_value());
  EXPECT_EQ(*v, (Version{"manager-b", 2, 3}));
  reopen();
  EXPECT_EQ(store().get(id)->version, *v);
  EXPECT_EQ(store().get(id)->state, kept);  // not resealed: still under epoch 1
}

TEST_P(StoreContract, CommitKeepsTheWrappedKeyUnlessGivenANewOne) {
  ASSERT_OK(store().create(test_record(1)));
  const Uuid id = test_uuid(1);
  Version v = *store().acquire(id, Version{}, "m", {});
  const Bytes first = to_bytes(as_bytes("first"));
  const Bytes second = to_bytes(as_bytes("second"));
  v = *store().commit(id, v, test_blob(v), first, {});
  EXPECT_EQ(store().get(id)->wrapped_key, first);
  v = *store().commit(id, v, test_blob(v), {}, {});
  EXPECT_EQ(store().get(id)->wrapped_key, first);
  v = *store().commit(id, v, test_blob(v), second, {});
  EXPECT_EQ(store().get(id)->wrapped_key, second);
  // No state at all is a state: back to read-only without identity.
  v = *store().commit(id, v, SealedBlob{}, {}, {});
  EXPECT_EQ(store().get(id)->state, SealedBlob{});
  EXPECT_EQ(store().get(id)->wrapped_key, Bytes{}) << "it opens nothing any more";
  EXPECT_EQ(store().get(id)->version.generation, 4U);
}

// A quarantine ends in the transaction that brings the new state.
TEST_P(StoreContract, CommitMayChangeTheRole) {
  Record r = test_record(1);
  r.settings.role = Role::quarantined_fresh_storage;
  ASSERT_OK(store().create(r));
  Version v = *store().acquire(r.uuid, Version{}, "m", {});
  v = *store().commit(r.uuid, v, test_blob(v), {}, {});
  reopen();
  EXPECT_EQ(store().get(r.uuid)->settings.role, Role::quarantined_fresh_storage);
  const Store::CommitRequest request{.uuid = r.uuid,
                                     .expected = v,
                                     .state = test_blob(v),
                                     .wrapped_key = {},
                                     .voucher = {},
                                     .mode = 0,
                                     .lineage = {},
                                     .role = Role::device};
  ASSERT_OK(store().commit_all({request}).front());
  EXPECT_EQ(store().get(r.uuid)->settings.role, Role::device);
}

TEST_P(StoreContract, CommitTakesBlobsUpToTheLimitOnly) {
  ASSERT_OK(store().create(test_record(1)));
  const Uuid id = test_uuid(1);
  Version v = *store().acquire(id, Version{}, "m", {});
  v = *store().commit(id, v, test_blob(v, kMaxStateBlob), Bytes(kMaxWrappedKey), {});
  EXPECT_EQ(store().get(id)->state.bytes.size(), kMaxStateBlob);
  EXPECT_FAILS(store().commit(id, v, test_blob(v, kMaxStateBlob + 1), {}, {}), too_large);
  EXPECT_FAILS(store().commit(id, v, test_blob(v), Bytes(kMaxWrappedKey + 1), {}), too_large);
  EXPECT_EQ(store().get(id)->version, v);
}

TEST_P(StoreContract, CommitRefusesAStateSealedForAnotherVersion) {
  ASSERT_OK(store().create(test_record(1)));
  const Uuid id = test_uuid(1);
  const Version v = *store().acquire(id, Version{}, "m", {});
  for (const auto& [epoch, generation] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {v.epoch, v.generation}, {v.epoch, v.generation + 2}, {v.epoch + 1, 1}, {0, 1}}) {
    SealedBlob blob = test_blob(v);
    blob.epoch = epoch;
    blob.generation = generation;
    EXPECT_FAILS(store().commit(id, v, blob, {}, {}), invalid_argument);
  }
  EXPECT_EQ(store().get(id)->version, v);
}

// Everything that is wrong with a writer's idea of the version, against every call that writes.
TEST_P(StoreContract, AStaleWriterChangesNothing) {
  Record r = test_record(1);
  r.version = {"manager-a", 5, 7};
  r.state = test_blob({"", 5, 6});
  r.powered = true;
  ASSERT_OK(store().create(r));
  const Uuid id = r.uuid;
  const std::vector<Version> stale{{"manager-b", 5, 7}, {"", 5, 7},          {"manager-a", 4, 7},
                                   {"manager-a", 6, 7}, {"manager-a", 5, 6}, {"manager-a", 5, 8},
                                   {"MANAGER-A", 5, 7}, {"manager-a", 7, 5}};
  for (const Version& v : stale) {
    SCOPED_TRACE(v.owner + " " + std::to_string(v.epoch) + " " + std::to_string(v.generation));
    EXPECT_FAILS(store().acquire(id, v, "thief", {}), conflict);
    EXPECT_FAILS(store().commit(id, v, test_blob(v), as_bytes("key"), {}), conflict);
    EXPECT_FAILS(store().commit_all({{id, v, test_blob(v), {}, {}}}).front(), conflict);
    EXPECT_FAILS(store().set_powered(id, v, false, {}), conflict);
    EXPECT_FAILS(store().set_failure(id, v, "lies", {}), conflict);
    EXPECT_FAILS(store().set_settings(id, v, test_record(2).settings, {}), conflict);
    EXPECT_FAILS(store().release(id, v, {}), conflict);
    EXPECT_FAILS(store().remove(id, v), conflict);
    expect_same(*store().get(id), r);
  }
  EXPECT_THAT(store().release(id, stale.front(), {}).error().message,
              HasSubstr("epoch 5 generation 7, held by manager-a"));
  reopen();
  expect_same(*store().get(id), r);
}

// Device 1 with a state and a lineage, two snapshots of it, and what is to take its place.
struct Generations {
  Record old = test_record(1), kept = test_record(2), newer = test_record(3);
  Store::Succession succession;
  explicit Generations(Store& store) {
    old.version = {"m", 5, 7};
    old.state = test_blob({"", 5, 6});
    old.lineage = Bytes(30, std::byte{1});
    old.wrapped_key = Bytes(9, std::byte{2});
    old.powered = true;
    old.failure = "why";
    kept.settings.name = "device-1@kept";
    newer.settings.name = "device-1@newer";
    for (Record* snapshot : {&kept, &newer}) snapshot->settings.role = Role::snapshot;
    for (const Record* record : {&old, &kept, &newer})
      EXPECT_TRUE(store.create(*record).has_value());
    succession = {.retired = old.uuid,
                  .expected = old.version,
                  .retired_name = "device-1.retired-1",
                  .wrapped_key = Bytes(9, std::byte{3}),
                  .lineage = Bytes(20, std::byte{4}),
                  .voucher = to_bytes(as_bytes("retired")),
                  .successor = test_record(4),
                  .gone = {{newer.uuid, newer.version}}};
    succession.successor.settings.name = old.settings.name;
    succession.successor.state = test_blob({"", 0, 0});
    succession.successor.version.generation = 1;
    succession.successor.lineage = Bytes(40, std::byte{5});
    succession.successor.voucher = to_bytes(as_bytes("successor"));
  }
};

TEST_P(StoreContract, ASuccessorTakesTheName) {
  const Generations g(store());
  ASSERT_OK(store().succeed(g.succession));
  reopen();
  Record retired = g.old;
  retired.settings.name = g.succession.retired_name;
  retired.settings.role = Role::retired;
  retired.version.generation++;
  retired.state = {};
  retired.wrapped_key = g.succession.wrapped_key;
  retired.lineage = g.succession.lineage;
  retired.voucher = g.succession.voucher;
  retired.powered = false;
  retired.failure.clear();
  expect_same(*store().get(g.old.uuid), retired);
  expect_same(*store().get(test_uuid(4)), g.succession.successor);
  expect_same(*store().get(g.kept.uuid), g.kept);
  EXPECT_EQ(*store().find("device-1"), test_uuid(4));
  EXPECT_FAILS(store().get(g.newer.uuid), not_found);
  EXPECT_FAILS(store().create(g.newer), exists);
  EXPECT_FAILS(store().commit(g.old.uuid, g.old.version, test_blob(g.old.version), {}, {}),
               conflict);
}

TEST_P(StoreContract, ASuccessionIsWholeOrNothing) {
  const Generations g(store());
  const auto refused = [&](ErrorCode code, const std::function<void(Store::Succession&)>& spoil) {
    Store::Succession bad = g.succession;
    spoil(bad);
    const auto done = store().succeed(bad);
    ASSERT_FALSE(done.has_value());
    EXPECT_EQ(done.error().code, code) << done.error().message;
    for (const Record* record : {&g.old, &g.kept, &g.newer})
      expect_same(*store().get(record->uuid), *record);
    EXPECT_FAILS(store().get(test_uuid(4)), not_found);
  };
  using Succession = Store::Succession;
  refused(ErrorCode::conflict, [](Succession& s) { s.expected.epoch++; });
  refused(ErrorCode::conflict, [](Succession& s) { s.expected.generation--; });
  refused(ErrorCode::not_found, [](Succession& s) { s.retired = test_uuid(9); });
  refused(ErrorCode::exists, [](Succession& s) { s.retired_name = "device-1"; });
  refused(ErrorCode::exists, [](Succession& s) { s.successor.settings.name = s.retired_name; });
  refused(ErrorCode::exists, [](Succession& s) { s.successor.uuid = test_uuid(2); });
  refused(ErrorCode::conflict, [](Succession& s) { s.gone[0].second.generation++; });
  refused(ErrorCode::not_found, [](Succession& s) { s.gone.push_back({test_uuid(9), {}}); });
  refused(ErrorCode::invalid_argument, [](Succession& s) { s.retired_name = "a b"; });
  refused(ErrorCode::invalid_argument, [](Succession& s) { s.successor.settings.name = "a b"; });
  refused(ErrorCode::invalid_argument, [](Succession& s) { s.lineage.clear(); });
  refused(ErrorCode::too_large, [](Succession& s) { s.lineage.resize(kMaxLineage + 1); });
  refused(ErrorCode::too_large, [](Succession& s) { s.wrapped_key.resize(kMaxWrappedKey + 1); });
  refused(ErrorCode::too_large, [](Succession& s) { s.voucher.resize(kMaxVoucher + 1); });
  ASSERT_OK(store().succeed(g.succession));
}

TEST_P(StoreContract, AnUnknownDeviceIsNotFoundInEveryCall) {
  const Uuid id = test_uuid(9);
  const Version v{"m", 1, 1};
  EXPECT_FAILS(store().get(id), not_found);
  EXPECT_FAILS(store().acquire(id, v, "m", {}), not_found);
  EXPECT_FAILS(store().commit(id, v, test_blob(v), {}, {}), not_found);
  EXPECT_FAILS(store().set_powered(id, v, true, {}), not_found);
  EXPECT_FAILS(store().set_failure(id, v, "x", {}), not_found);
  EXPECT_FAILS(store().set_settings(id, v, test_record(2).settings, {}), not_found);
  EXPECT_FAILS(store().release(id, v, {}), not_found);
  EXPECT_FAILS(store().remove(id, v), not_found);
}

TEST_P(StoreContract, AcquireNeedsAnId) {
  ASSERT_OK(store().create(test_record(1)));
  EXPECT_FAILS(store().acquire(test_uuid(1), Version{}, "", {}), invalid_argument);
  EXPECT_FAILS(store().acquire(test_uuid(1), Version{}, std::string("a\0b", 3), {}),
               invalid_argument);
  EXPECT_EQ(store().get(test_uuid(1))->version, Version{});
}

TEST_P(StoreContract, CountersDoNotWrap) {
  Record r = test_record(1);
  r.version = {"m", static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) - 1, 0};
  ASSERT_OK(store().create(r));
  const auto last = store().acquire(r.uuid, r.version, "m", {});
  ASSERT_TRUE(last.has_value());
  EXPECT_FAILS(store().acquire(r.uuid, *last, "m", {}), invalid_argument);
  EXPECT_EQ(store().get(r.uuid)->version, *last);
  const Version huge{"m", ~std::uint64_t{0}, ~std::uint64_t{0}};
  EXPECT_FAILS(store().acquire(r.uuid, huge, "m", {}), invalid_argument);
  EXPECT_FAILS(store().remove(r.uuid, huge), invalid_argument);
}

TEST_P(StoreContract, PowerAndFailureAreKeptAndLeaveTheVersion) {
  ASSERT_OK(store().create(test_record(1)));
  const Uuid id = test_uuid(1);
  const Version v = *store().acquire(id, Version{}, "m", {});
  ASSERT_OK(store().set_powered(id, v, true, {}));
  ASSERT_OK(store().set_failure(id, v, "poison frame", {}));
  reopen();
  EXPECT_TRUE(store().get(id)->powered);
  EXPECT_EQ(store().get(id)->failure, "poison frame");
  EXPECT_EQ(store().get(id)->version, v);
  ASSERT_OK(store().set_powered(id, v, false, {}));
  ASSERT_OK(store().set_failure(id, v, "", {}));
  EXPECT_FALSE(store().get(id)->powered);
  EXPECT_EQ(store().get(id)->failure, "");
  EXPECT_FAILS(store().set_failure(id, v, std::string(kMaxText + 1, 'x'), {}), too_large);
}

TEST_P(StoreContract, OfSettingsThoseOfALivingDeviceCanChange) {
  Record r = test_record(1);
  r.settings.park_after_s = 0;
  ASSERT_OK(store().create(r));
  EXPECT_EQ(store().get(r.uuid)->settings, r.settings);
  Settings wanted = test_record(2).settings;  // another name
  wanted.owner = "shop";
  wanted.park_after_s = 0xffffffff;
  wanted.cert_profile = 3;
  ASSERT_OK(store().set_settings(r.uuid, {}, wanted, as_bytes("voucher")));
  reopen();
  r.settings.owner = wanted.owner;
  r.settings.park_after_s = wanted.park_after_s;
  r.settings.cert_profile = wanted.cert_profile;
  r.voucher = to_bytes(as_bytes("voucher"));
  expect_same(*store().get(r.uuid), r);
  wanted.park_after_s.reset();
  ASSERT_OK(store().set_settings(r.uuid, {}, wanted, {}));
  EXPECT_EQ(store().get(r.uuid)->settings.park_after_s, std::nullopt);
  wanted.owner = std::string(kMaxText + 1, 'x');
  EXPECT_FAILS(store().set_settings(r.uuid, {}, wanted, {}), too_large);
  wanted.owner = std::string("a\0b", 3);
  EXPECT_FAILS(store().set_settings(r.uuid, {}, wanted, {}), invalid_argument);
}

TEST_P(StoreContract, CommitAllGivesEachItsOwnResult) {
  std::vector<Version> held;
  for (unsigned n = 0; n < 4; n++) {
    ASSERT_OK(store().create(test_record(n + 1)));
    held.push_back(*store().acquire(test_uuid(n + 1), Version{}, "m", {}));
  }
  Version stale = held[1];
  stale.epoch = 0;
  const Bytes key = to_bytes(as_bytes("key"));
  const Version next{"m", 1, 1};
  const auto results = store().commit_all({
      {test_uuid(1), held[0], test_blob(held[0]), key, key},
      {test_uuid(2), stale, test_blob(stale), key, {}},
      {test_uuid(99), held[0], test_blob(held[0]), key, {}},
      {test_uuid(3), held[2], test_blob(held[2], kMaxStateBlob + 1), key, {}},
      {test_uuid(4), held[3], test_blob(held[3]), {}, {}},
      {test_uuid(4), next, test_blob(next, 300), {}, {}},  // builds on the one before
      {test_uuid(4), held[3], test_blob(held[3]), {}, {}},
  });
  ASSERT_EQ(results.size(), 7U);
  EXPECT_EQ(results[0].value(), next);
  EXPECT_FAILS(results[1], conflict);
  EXPECT_FAILS(results[2], not_found);
  EXPECT_FAILS(results[3], too_large);
  EXPECT_EQ(results[4].value(), next);
  EXPECT_EQ(results[5].value(), (Version{"m", 1, 2}));
  EXPECT_FAILS(results[6], conflict);
  reopen();
  EXPECT_EQ(store().get(test_uuid(1))->state, test_blob(held[0]));
  EXPECT_EQ(store().get(test_uuid(1))->wrapped_key, key);
  EXPECT_EQ(store().get(test_uuid(1))->voucher, key);
  EXPECT_EQ(store().get(test_uuid(2))->version, held[1]);
  EXPECT_TRUE(store().get(test_uuid(2))->wrapped_key.empty());
  EXPECT_EQ(store().get(test_uuid(3))->version, held[2]);
  EXPECT_EQ(store().get(test_uuid(4))->state, test_blob(next, 300));
  EXPECT_TRUE(store().commit_all({}).empty());
}

TEST_P(StoreContract, EveryWriteBringsItsVoucher) {
  Record r = test_record(1);
  r.voucher = to_bytes(as_bytes("0"));
  ASSERT_OK(store().create(r));
  const Uuid id = r.uuid;
  const auto voucher = [&] { return std::string(as_text(store().get(id)->voucher)); };
  EXPECT_EQ(voucher(), "0");
  Version v = *store().acquire(id, Version{}, "m", as_bytes("1"));
  EXPECT_EQ(voucher(), "1");
  v = *store().commit(id, v, test_blob(v), {}, as_bytes("2"));
  EXPECT_EQ(voucher(), "2");
  ASSERT_OK(store().set_powered(id, v, true, as_bytes("3")));
  EXPECT_EQ(voucher(), "3");
  ASSERT_OK(store().set_failure(id, v, "x", as_bytes("4")));
  EXPECT_EQ(voucher(), "4");
  ASSERT_OK(store().set_settings(id, v, r.settings, as_bytes("5")));
  EXPECT_EQ(voucher(), "5");
  ASSERT_OK(store().release(id, v, as_bytes("6")));
  EXPECT_EQ(voucher(), "6");
  const Bytes large(kMaxVoucher + 1);
  v.owner = "";
  EXPECT_FAILS(store().acquire(id, v, "m", large), too_large);
  EXPECT_FAILS(store().set_powered(id, v, true, large), too_large);
  EXPECT_FAILS(store().set_failure(id, v, "x", large), too_large);
  EXPECT_FAILS(store().set_settings(id, v, r.settings, large), too_large);
  EXPECT_FAILS(store().release(id, v, large), too_large);
  EXPECT_EQ(voucher(), "6");
}

TEST_P(StoreContract, ARevisionIsAllOrNothingAndLeavesVersions) {
  for (unsigned n = 1; n <= 3; n++) ASSERT_OK(store().create(test_record(n)));
  const Bytes key = to_bytes(as_bytes("key"));
  const Bytes voucher = to_bytes(as_bytes("voucher"));
  EXPECT_TRUE(store().note()->empty());
  ASSERT_OK(store().revise(
      {{test_uuid(1), Version{}, key, voucher}, {test_uuid(2), Version{}, {}, voucher}},
      as_bytes("first")));
  reopen();
  EXPECT_EQ(as_text(*store().note()), "first");
  EXPECT_EQ(store().get(test_uuid(1))->wrapped_key, key);
  EXPECT_EQ(store().get(test_uuid(1))->voucher, voucher);
  EXPECT_EQ(store().get(test_uuid(1))->version, Version{});
  EXPECT_TRUE(store().get(test_uuid(2))->wrapped_key.empty());
  EXPECT_TRUE(store().get(test_uuid(3))->voucher.empty());
  EXPECT_FAILS(store().revise({{test_uuid(3), Version{}, key, voucher},
                               {test_uuid(2), Version{"thief", 0, 0}, key, voucher}},
                              as_bytes("second")),
               conflict);
  EXPECT_FAILS(store().revise({}, Bytes(kMaxNote + 1)), too_large);
  EXPECT_EQ(as_text(*store().note()), "first");
  EXPECT_TRUE(store().get(test_uuid(3))->voucher.empty());
}

TEST_P(StoreContract, DiscardNeedsNoVersionAndLeavesATombstone) {
  ASSERT_OK(store().create(test_record(1)));
  ASSERT_OK(store().acquire(test_uuid(1), Version{}, "m", {}));
  ASSERT_OK(store().discard(test_uuid(1)));
  EXPECT_FAILS(store().get(test_uuid(1)), not_found);
  EXPECT_FAILS(store().discard(test_uuid(1)), not_found);
  EXPECT_FAILS(store().create(test_record(1)), exists);
}

TEST_P(StoreContract, WhatIsWithdrawnIsKeptWithTheChangeThatItBelongsTo) {
  for (unsigned n = 1; n <= 2; n++) ASSERT_OK(store().create(test_record(n)));
  EXPECT_EQ(*store().last_withdrawn(), 0U);
  const Withdrawn first{1, to_bytes(as_bytes("first"))}, second{2, to_bytes(as_bytes("second"))};
  EXPECT_FAILS(store().remove(test_uuid(1), Version{"thief", 0, 0}, first), conflict);
  EXPECT_TRUE(store().withdrawn()->empty());
  ASSERT_OK(store().remove(test_uuid(1), Version{}, first));
  Store::CommitRequest wiped{.uuid = test_uuid(2),
                             .expected = Version{"thief", 0, 0},
                             .state = {},
                             .wrapped_key = {},
                             .voucher = {},
                             .withdrawn = second};
  EXPECT_FALSE(store().commit_all({wiped}).front());
  wiped.expected = {};
  EXPECT_TRUE(store().commit_all({wiped}).front());
  wiped.expected.generation = 1;
  EXPECT_FALSE(store().commit_all({wiped}).front()) << "the number is taken";
  EXPECT_EQ(store().get(test_uuid(2))->version.generation, 1U);
  reopen();
  EXPECT_EQ(*store().withdrawn(), (std::vector<Withdrawn>{first, second}));
  EXPECT_EQ(*store().last_withdrawn(), 2U);
  EXPECT_FAILS(store().remove(test_uuid(2), store().get(test_uuid(2))->version,
                              {3, Bytes(kMaxWithdrawn + 1)}),
               too_large);
}

TEST_P(StoreContract, ASoundStorePassesItsCheck) {
  EXPECT_TRUE(store().check().has_value());
  for (unsigned n = 1; n <= 130; n++) ASSERT_OK(store().create(test_record(n)));
  const auto checked = store().check();
  EXPECT_TRUE(checked.has_value()) << checked.error().message;
}

}  // namespace
}  // namespace vtpm::store
