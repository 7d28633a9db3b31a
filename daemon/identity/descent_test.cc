// SPDX-License-Identifier: Apache-2.0
// Descent and what goes into it: events, their log, the seed of a clone, the attestation key.
#include "identity/descent.h"

#include <gtest/gtest.h>
#include <openssl/ec.h>

#include "frame/lineage.h"
#include "identity/attestation_key.h"
#include "identity/authority.h"
#include "identity/derived_seed.h"
#include "identity/test_keys.h"

namespace vtpm::identity {
namespace {

Digest filled(std::uint8_t byte) {
  Digest digest{};
  digest.fill(std::byte{byte});
  return digest;
}
Digest counted(std::uint8_t from) {
  Digest digest{};
  for (std::byte& byte : digest) byte = std::byte{from++};
  return digest;
}
Uuid uuid(std::string_view text) { return *Uuid::parse(text); }
const Uuid kFirst = uuid("90b9df6d-8f0c-4e2e-8a2f-5b7c6d1e0f42");
const Uuid kSecond = uuid("cdc337d7-8f55-4ec0-ac2e-2d83d873e31d");
Digest must(Result<Digest> digest) {
  EXPECT_TRUE(digest);
  return digest.value_or(Digest{});
}

// A birth and a clone of it, signed by `family`.
EventLog two_events(const Family& family) {
  Event birth{.device = kFirst, .time = 1'763'805'600, .random = filled(1)};
  const Digest lineage = must(extended({}, must(digest_of(birth))));
  Event clone{.kind = EventKind::clone,
              .device = kSecond,
              .parent = kFirst,
              .parent_lineage = lineage,
              .generation = 2,
              .time = 1'763'805'601,
              .random = filled(2)};
  EventLog log;
  for (const Event& event : {birth, clone}) {
    auto entry = family.sign(event);
    EXPECT_TRUE(entry);
    log.push_back(*std::move(entry));
  }
  return log;
}
Family make_family() {
  auto authority = Authority::create();
  EXPECT_TRUE(authority);
  auto family = authority->found_family();
  EXPECT_TRUE(family);
  return *std::move(family);
}

TEST(Event, IsWrittenInOneWay) {
  const Event event{.kind = EventKind::clone,
                    .device = kSecond,
                    .parent = kFirst,
                    .parent_lineage = filled(0xab),
                    .generation = 12,
                    .time = 1'763'805'600,
                    .random = filled(0x01)};
  const std::string json =
      R"({"device":"cdc337d7-8f55-4ec0-ac2e-2d83d873e31d","generation":12,"kind":"clone",)"
      R"("parent":"90b9df6d-8f0c-4e2e-8a2f-5b7c6d1e0f42","parent_lineage":")" +
      std::string(64, '#') + R"(","random":")" + std::string(64, '@') +
      R"(","time":"2025-11-22T10:00:00Z"})";
  std::string expected = json;
  for (std::size_t i = 0; i < 32; i++) expected.replace(expected.find("##"), 2, "ab");
  for (std::size_t i = 0; i < 32; i++) expected.replace(expected.find("@@"), 2, "01");
  EXPECT_EQ(to_json(event), expected);
  const auto read = parse_event(expected);
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, event);
  // Every byte counts: no other text is the same event, and almost none is an event at all.
  for (std::size_t i = 0; i < expected.size(); i++) {
    std::string other = expected;
    other[i] ^= 1;
    const auto changed = parse_event(other);
    EXPECT_TRUE(!changed || !(*changed == event)) << other;
    EXPECT_FALSE(parse_event(expected.substr(0, i)));
  }
  for (const auto& [was, is] : std::initializer_list<std::pair<std::string, std::string>>{
           {R"("kind":"clone")", R"("kind": "clone")"},
           {R"("generation":12)", R"("generation":012)"},
           {R"("generation":12)", R"("generation":0)"},
           {R"("generation":12)", R"("generation":9007199254740992)"},
           {R"("kind":"clone")", R"("kind":"create")"},
           {"2025-11-22", "2025-11-31"},
           {"2025-11-22", "12025-11-22"},
           {"abab", "ABAB"},
           {"}", "} "},
           {"}", ",\"more\":1}"}}) {
    std::string other = expected;
    other.replace(other.find(was), was.size(), is);
    EXPECT_FALSE(parse_event(other)) << other;
  }
}

TEST(Event, ALogIsReplayedToWhatTheTpmShows) {
  const Family family = make_family();
  const EventLog log = two_events(family);
  const auto read = parse_log(to_text(log));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, log);
  const auto standing = replay(*read);
  ASSERT_TRUE(standing) << standing.error().message;
  EXPECT_EQ(standing->generation, 2U);
  EXPECT_EQ(standing->lineage,
            must(extended(log[1].event.parent_lineage, must(digest_of(log[1].event)))));
}

TEST(Event, ALogWithAGapOrInDisorderDoesNotReplay) {
  const EventLog log = two_events(make_family());
  EXPECT_FALSE(replay({}));
  EXPECT_TRUE(replay({log[0]}));
  EXPECT_FALSE(replay({log[1]}));
  EXPECT_FALSE(replay({log[1], log[0]}));
  EXPECT_FALSE(replay({log[0], log[0]}));
  EXPECT_FALSE(replay({log[0], log[1], log[1]}));
  const auto with = [&log](auto change) {
    EventLog changed = log;
    change(changed[1].event);
    return replay(changed);
  };
  EXPECT_FALSE(with([](Event& e) { e.parent = kSecond; }));
  EXPECT_FALSE(with([](Event& e) { e.parent_lineage = filled(3); }));
  EXPECT_FALSE(with([](Event& e) { e.generation = 1; }));
  EXPECT_FALSE(with([](Event& e) { e.kind = EventKind::create; }));
}

TEST(Event, ALogOfAnybodyIsReadStrictly) {
  const std::string text = to_text(two_events(make_family()));
  EXPECT_FALSE(parse_log(text.substr(0, text.size() - 1)));
  EXPECT_FALSE(parse_log(text + "\n"));
  EXPECT_FALSE(parse_log(" " + text));
  EXPECT_FALSE(parse_log(std::string(kLongestLog + 1, '\n')));
  EXPECT_TRUE(parse_log(""));
  const auto refused = parse_log(text + "{}\n");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "line 3 of the log is no event of an identity");
}

TEST(Descent, OneEncodingThatIsReadStrictly) {
  const Descent birth{.lineage = counted(0), .generation = 1, .kind = 2, .parent = std::nullopt};
  const Descent clone{.lineage = filled(9), .generation = 0x80, .kind = 1, .parent = counted(64)};
  // openssl asn1parse reads it; these were put together by hand from X.690.
  EXPECT_EQ(to_hex(encode(birth)),
            "302b020101"
            "0420" +
                to_hex(counted(0)) +
                "020101"
                "0a0102");
  EXPECT_EQ(to_hex(encode(clone)),
            "304e020101"
            "0420" +
                to_hex(filled(9)) +
                "02020080"
                "0a0101"
                "0420" +
                to_hex(counted(64)));
  for (const Descent& descent : {birth, clone}) {
    const Bytes der = encode(descent);
    const auto read = decode_descent(der);
    ASSERT_TRUE(read);
    EXPECT_EQ(*read, descent);
    for (std::size_t i = 0; i < der.size(); i++) {
      Bytes other = der;
      other[i] ^= std::byte{0x80};
      const auto changed = decode_descent(other);
      EXPECT_TRUE(!changed || !(*changed == descent)) << i;
      EXPECT_FALSE(decode_descent(ByteView(der).first(i)));
    }
    Bytes longer = der;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(decode_descent(longer));
  }
}

// By "openssl kdf -keylen 64 -kdfopt mac:HMAC -kdfopt digest:SHA512 -kdfopt mode:COUNTER -kdfopt
// hexkey:FRESH -kdfopt salt:'VTPM EPS' -kdfopt hexinfo:CONTEXT KBKDF".
TEST(DerivedSeed, IsWhatOpensslDerives) {
  Bytes fresh(64);
  for (std::size_t i = 0; i < fresh.size(); i++) fresh[i] = static_cast<std::byte>(i);
  const auto seed = derive_endorsement_seed(fresh, filled(0xa5), 2, kFirst);
  ASSERT_TRUE(seed);
  EXPECT_EQ(to_hex(*seed),
            "1dfe62b8f77ee43bbd85d7db3e16475eace7a0cea61f339b6386fec93820a05b"
            "b111302e5202b801b2bc414e187b67cad8f330e537d1f28585f4d9996aa5cc55");
  Uuid last;
  last.bytes.fill(std::byte{0xff});
  const auto other =
      derive_endorsement_seed(Bytes(64, std::byte{0xff}), counted(0), kLastGeneration, last);
  ASSERT_TRUE(other);
  EXPECT_EQ(to_hex(*other),
            "9660c759e268d0911cebbc4882243e90df0bd1b95ba14b23cf60de8dd98cd886"
            "c47d166270e62c2a42ef6beb1ddd900feb5ab3299676c37d61417b24f7d246cc");
  EXPECT_FALSE(derive_endorsement_seed(Bytes(63), filled(1), 1, kFirst));
  EXPECT_FALSE(derive_endorsement_seed({}, filled(1), 1, kFirst));
}

// As a TPM would describe it.
Bytes attestation_key(const Digest& policy, const Key& key) {
  Bytes area = frame::attestation_key_head(policy);
  Writer(area)
      .sized16(testing::number_of(key, OSSL_PKEY_PARAM_EC_PUB_X, 32))
      .sized16(testing::number_of(key, OSSL_PKEY_PARAM_EC_PUB_Y, 32));
  return area;
}

TEST(AttestationKey, IsCertifiedForItsLineageAndGenerationOnly) {
  const Family family = make_family();
  const Key key(EVP_EC_gen("P-256"));
  KeySubject subject{.device = kFirst, .model = "model"};
  subject.descent = {.lineage = filled(4), .generation = 7, .kind = 1, .parent = std::nullopt};
  const Digest policy = must(attestation_policy(filled(4), 7));
  const Bytes area = attestation_key(policy, key);
  const auto der = family.certify_attestation_key(area, subject);
  ASSERT_TRUE(der) << der.error().message;
  EXPECT_LE(der->size(), 1280U);
  const auto made = from_der<Certificate>(*der, d2i_X509);
  ASSERT_TRUE(made);
  EXPECT_EQ(EVP_PKEY_eq(X509_get0_pubkey(made.get()), key.get()), 1);
  EXPECT_EQ(X509_get_key_usage(made.get()), static_cast<std::uint32_t>(KU_DIGITAL_SIGNATURE));
  const auto descent = read_descent(made.get());
  ASSERT_TRUE(descent);
  EXPECT_EQ(*descent, subject.descent);

  const auto refused = [&](const Bytes& bytes, const KeySubject& whose) {
    const auto certificate = family.certify_attestation_key(bytes, whose);
    return !certificate && certificate.error().code == ErrorCode::invalid_argument;
  };
  KeySubject other = subject;
  other.descent.generation = 8;
  EXPECT_TRUE(refused(area, other));
  other = subject;
  other.descent.lineage = filled(5);
  EXPECT_TRUE(refused(area, other));
  for (std::size_t i = 0; i < area.size(); i++) {
    Bytes bad = area;
    bad[i] ^= std::byte{1};
    EXPECT_TRUE(refused(bad, subject)) << i;
    EXPECT_TRUE(
        refused(Bytes(area.begin(), area.begin() + static_cast<std::ptrdiff_t>(i)), subject));
  }
  // No endorsement key is one, and none of these is an endorsement key.
  EXPECT_TRUE(refused(
      testing::tpmt_public(testing::kForms[4], testing::generate(testing::kForms[4])), subject));
  EXPECT_FALSE(family.certify_endorsement_key(area, subject));
}

TEST(AttestationKey, ACertificateWithoutDescentSaysSo) {
  const auto root = from_der<Certificate>(Authority::create()->root(), d2i_X509);
  const auto descent = read_descent(root.get());
  ASSERT_FALSE(descent);
  EXPECT_EQ(descent.error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace vtpm::identity
