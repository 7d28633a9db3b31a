// SPDX-License-Identifier: Apache-2.0
#include "identity/authority.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>

#include <ctime>

#include "base/temporary_folder.h"
#include "identity/root_description.h"
#include "identity/test_keys.h"

namespace vtpm::identity {
namespace {

using testing::Form;
using testing::generate;
using testing::kForms;
using testing::tpmt_public;

Authority make_authority() {
  auto made = Authority::create();
  EXPECT_TRUE(made) << made.error().message;
  return *std::move(made);
}

Digest filled(std::uint8_t byte) {
  Digest digest{};
  digest.fill(std::byte{byte});
  return digest;
}

Family make_family(const Authority& authority) {
  auto made = authority.found_family();
  EXPECT_TRUE(made) << made.error().message;
  return *std::move(made);
}

KeySubject subject() {
  return {.device = *Uuid::parse("0b2ed7bb-3e14-4d0c-9c52-4a0f2bfa5c11"),
          .manufacturer = 0x49424d00,
          .model = "SW   TPM",
          .firmware_version = 0x20191023,
          .spec_level = 0,
          .spec_revision = 164,
          .descent = {.lineage = filled(0xa5), .generation = 300, .kind = 3, .parent = filled(7)}};
}

Certificate parse(ByteView der) {
  const unsigned char* at = raw(der);
  Certificate parsed(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  EXPECT_TRUE(parsed && at == raw(der) + der.size());
  return parsed;
}

std::string text(const ASN1_STRING* string) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
          static_cast<std::size_t>(ASN1_STRING_length(string))};
}

// "TYPE=VALUE" for each attribute, each in a set of its own.
std::vector<std::string> attributes(const X509_NAME* name) {
  std::vector<std::string> out;
  for (int i = 0; i < X509_NAME_entry_count(name); i++) {
    const X509_NAME_ENTRY* const entry = X509_NAME_get_entry(name, i);
    EXPECT_EQ(X509_NAME_ENTRY_set(entry), i);
    std::array<char, 64> type{};
    OBJ_obj2txt(type.data(), type.size(), X509_NAME_ENTRY_get_object(entry), 1);
    const ASN1_STRING* const value = X509_NAME_ENTRY_get_data(entry);
    EXPECT_EQ(ASN1_STRING_type(value), std::string_view(type.data()) == "2.5.4.5"
                                           ? V_ASN1_PRINTABLESTRING
                                           : V_ASN1_UTF8STRING);
    out.push_back(std::string(type.data()) + "=" + text(value));
  }
  return out;
}

// The value of an extension that is there once, as it is written: "critical " | "" and DER in hex.
std::string extension(const X509* certificate, const char* type) {
  const OwnedBy<ASN1_OBJECT, ASN1_OBJECT_free> object(OBJ_txt2obj(type, 1));
  const int at = X509_get_ext_by_OBJ(certificate, object.get(), -1);
  if (at < 0) return "absent";
  EXPECT_LT(X509_get_ext_by_OBJ(certificate, object.get(), at), 0);
  X509_EXTENSION* const found = X509_get_ext(certificate, at);
  return (X509_EXTENSION_get_critical(found) == 1 ? "critical " : "") +
         to_hex(as_bytes(text(X509_EXTENSION_get_data(found))));
}

// OpenSSL's verdict on the chain; 0 is good. `between` comes from the leaf's side: not trusted.
int verdict(ByteView root, ByteView leaf, ByteView between = {}) {
  const OwnedBy<X509_STORE, X509_STORE_free> trusted(X509_STORE_new());
  const OwnedBy<X509_STORE_CTX, X509_STORE_CTX_free> context(X509_STORE_CTX_new());
  const Certificate anchor = parse(root), checked = parse(leaf);
  EXPECT_EQ(X509_STORE_add_cert(trusted.get(), anchor.get()), 1);
  const auto release = [](STACK_OF(X509) * stack) { sk_X509_free(stack); };
  const std::unique_ptr<STACK_OF(X509), decltype(release)> untrusted(sk_X509_new_null(), release);
  const Certificate family = between.empty() ? Certificate() : parse(between);
  if (family) sk_X509_push(untrusted.get(), family.get());
  EXPECT_EQ(X509_STORE_CTX_init(context.get(), trusted.get(), checked.get(), untrusted.get()), 1);
  X509_STORE_CTX_set_flags(context.get(), X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE |
                                              X509_V_FLAG_POLICY_CHECK);
  (void)X509_verify_cert(context.get());
  ERR_clear_error();
  return X509_STORE_CTX_get_error(context.get());
}

std::string key_id(const X509* certificate) {
  const std::string value = extension(certificate, "2.5.29.14");
  EXPECT_EQ(value.size(), 44U) << value;
  return value.substr(4);
}

bool begins_now_without_end(const X509* certificate) {
  std::tm begin{};
  if (ASN1_TIME_to_tm(X509_get0_notBefore(certificate), &begin) != 1) return false;
  const std::time_t age = std::time(nullptr) - ::timegm(&begin);
  return age >= 0 && age < 60 && text(X509_get0_notAfter(certificate)) == "99991231235959Z";
}

TEST(Authority, RootSaysWhatItIs) {
  const Bytes der = make_authority().root();
  const Certificate root = parse(der);
  EXPECT_EQ(X509_get_version(root.get()), X509_VERSION_3);
  EXPECT_EQ(X509_get_signature_nid(root.get()), NID_ecdsa_with_SHA384);
  EXPECT_EQ(
      attributes(X509_get_subject_name(root.get())),
      (std::vector<std::string>{"2.5.4.10=vTPM proxy",
                                "2.5.4.3=vTPM host root " + key_id(root.get()).substr(0, 16)}));
  EXPECT_EQ(X509_NAME_cmp(X509_get_subject_name(root.get()), X509_get_issuer_name(root.get())), 0);
  EXPECT_TRUE(begins_now_without_end(root.get()));
  EXPECT_EQ(extension(root.get(), "2.5.29.19"), "critical 30030101ff");  // CA, any length of path
  EXPECT_EQ(extension(root.get(), "2.5.29.15"), "critical 03020106");    // keyCertSign, cRLSign
  EXPECT_EQ(X509_get_ext_count(root.get()), 3);
  std::array<char, 16> group{};
  EXPECT_EQ(
      EVP_PKEY_get_group_name(X509_get0_pubkey(root.get()), group.data(), group.size(), nullptr),
      1);
  EXPECT_STREQ(group.data(), "secp384r1");
  EXPECT_EQ(verdict(der, der), X509_V_OK);
}

TEST(Authority, AFamilySaysWhatItIs) {
  const Authority authority = make_authority();
  const Certificate root = parse(authority.root());
  const Family family = make_family(authority);
  const Certificate c = parse(family.certificate());
  EXPECT_EQ(attributes(X509_get_subject_name(c.get())),
            (std::vector<std::string>{"2.5.4.10=vTPM proxy",
                                      "2.5.4.3=vTPM family " + key_id(c.get()).substr(0, 16)}));
  EXPECT_EQ(X509_NAME_cmp(X509_get_issuer_name(c.get()), X509_get_subject_name(root.get())), 0);
  EXPECT_EQ(extension(c.get(), "2.5.29.19"), "critical 30030101ff");
  EXPECT_EQ(extension(c.get(), "2.5.29.15"), "critical 03020186");  // digitalSignature, too
  EXPECT_EQ(extension(c.get(), "2.5.29.35"), "30168014" + key_id(root.get()));
  EXPECT_EQ(X509_get_ext_count(c.get()), 4);
  EXPECT_EQ(verdict(authority.root(), family.certificate()), X509_V_OK);
  EXPECT_NE(make_family(authority).private_key(), family.private_key());
}

TEST(Authority, RootIsDescribedForPeople) {
  const Authority authority = make_authority();
  const auto root = describe_root(authority.root());
  ASSERT_TRUE(root) << root.error().message;
  const std::string id = key_id(parse(authority.root()).get());
  EXPECT_EQ(root->subject, "CN=vTPM host root " + id.substr(0, 16) + ",O=vTPM proxy");
  EXPECT_NEAR(static_cast<double>(root->not_before), static_cast<double>(std::time(nullptr)), 60);
  EXPECT_EQ(root->not_after, 253402300799);  // the last second of 9999
  const Bytes der = authority.root();
  std::array<unsigned char, 32> digest{};
  ASSERT_EQ(EVP_Digest(der.data(), der.size(), digest.data(), nullptr, EVP_sha256(), nullptr), 1);
  EXPECT_EQ(to_hex(root->sha256), to_hex(std::as_bytes(std::span(digest))));
  const OwnedBy<BIO, BIO_free_all> memory(
      BIO_new_mem_buf(root->pem.data(), static_cast<int>(root->pem.size())));
  const Certificate read(PEM_read_bio_X509(memory.get(), nullptr, nullptr, nullptr));
  ASSERT_TRUE(read);
  EXPECT_EQ(to_der<Bytes>(read.get(), i2d_X509), der);
  EXPECT_FALSE(describe_root(as_bytes("none")));
}

TEST(Authority, CertificateOfAnEndorsementKeyHasEveryFieldOfTheProfile) {
  const Authority authority = make_authority();
  const Family family = make_family(authority);
  const Certificate issuer = parse(family.certificate());
  std::set<std::string> serials;
  for (const Form& form : kForms) {
    SCOPED_TRACE(form.size);
    const Key key = generate(form);
    const auto der = family.certify_endorsement_key(tpmt_public(form, key), subject());
    ASSERT_TRUE(der) << der.error().message;
    EXPECT_LE(der->size(), form.size == 4096 ? 1280U : 1100U);
    EXPECT_EQ(verdict(authority.root(), *der, family.certificate()), X509_V_OK);
    EXPECT_NE(verdict(authority.root(), *der), X509_V_OK);
    EXPECT_NE(verdict(authority.root(), *der, make_family(authority).certificate()), X509_V_OK);
    EXPECT_NE(verdict(make_authority().root(), *der, family.certificate()), X509_V_OK);

    const Certificate c = parse(*der);
    EXPECT_EQ(X509_get_version(c.get()), X509_VERSION_3);
    EXPECT_EQ(X509_get_signature_nid(c.get()), NID_ecdsa_with_SHA384);
    EXPECT_EQ(EVP_PKEY_eq(X509_get0_pubkey(c.get()), key.get()), 1);
    EXPECT_EQ(X509_NAME_entry_count(X509_get_subject_name(c.get())), 0);
    EXPECT_EQ(X509_NAME_cmp(X509_get_issuer_name(c.get()), X509_get_subject_name(issuer.get())), 0);
    EXPECT_TRUE(begins_now_without_end(c.get()));
    const ASN1_INTEGER* const serial = X509_get0_serialNumber(c.get());
    EXPECT_EQ(ASN1_STRING_type(serial), V_ASN1_INTEGER) << "not negative";
    EXPECT_GT(ASN1_STRING_length(serial), 16);
    EXPECT_LE(ASN1_STRING_length(serial), 20);
    EXPECT_TRUE(serials.insert(text(serial)).second);

    EXPECT_EQ(extension(c.get(), "2.5.29.19"), "critical 3000");  // no CA
    EXPECT_EQ(extension(c.get(), "2.5.29.15"),
              form.curve == nullptr ? "critical 03020520" : "critical 03020308");
    EXPECT_EQ(extension(c.get(), "2.5.29.37"),
              "30070605678105"
              "0801");
    EXPECT_EQ(extension(c.get(), "2.5.29.35"), "30168014" + key_id(issuer.get()));
    // SEQUENCE { SEQUENCE { 2.23.133.2.16, SET { SEQUENCE { "2.0", 0, 164 } } } }
    EXPECT_EQ(extension(c.get(), "2.5.29.9"),
              "3019"
              "3017"
              "0605678105"
              "0210"
              "310e"
              "300c"
              "0c03322e30"
              "020100"
              "020200a4");
    EXPECT_EQ(extension(c.get(), "2.5.29.17").substr(0, 9), "critical ");
    int critical = 0;
    const OwnedBy<GENERAL_NAMES, GENERAL_NAMES_free> names(static_cast<GENERAL_NAMES*>(
        X509_get_ext_d2i(c.get(), NID_subject_alt_name, &critical, nullptr)));
    ASSERT_TRUE(names);
    ASSERT_EQ(sk_GENERAL_NAME_num(names.get()), 1);
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names.get(), 0);
    ASSERT_EQ(name->type, GEN_DIRNAME);
    EXPECT_EQ(attributes(name->d.directoryName),
              (std::vector<std::string>{"2.23.133.2.1=id:49424D00", "2.23.133.2.2=SW   TPM",
                                        "2.23.133.2.3=id:20191023",
                                        "2.5.4.5=0b2ed7bb-3e14-4d0c-9c52-4a0f2bfa5c11"}));
    EXPECT_EQ(extension(c.get(), kDescentExtension), to_hex(encode(subject().descent)));
    EXPECT_EQ(X509_get_ext_count(c.get()), 7);
  }
}

TEST(Authority, LargestNumbersFit) {
  KeySubject largest = subject();
  largest.manufacturer = largest.firmware_version = 0xffffffff;
  largest.spec_level = largest.spec_revision = 0xffffffff;
  largest.model = std::string(16, '~');
  const Form& form = kForms[3];
  largest.descent.generation = kLastGeneration;
  const Family family = make_family(make_authority());
  const auto der = family.certify_endorsement_key(tpmt_public(form, generate(form)), largest);
  ASSERT_TRUE(der) << der.error().message;
  EXPECT_LE(der->size(), 1280U);
  EXPECT_EQ(extension(parse(*der).get(), "2.5.29.9"),
            "3020"
            "301e"
            "0605678105"
            "0210"
            "3115"
            "3013"
            "0c03322e30"
            "020500ffffffff"
            "020500ffffffff");
}

TEST(Authority, WhatIsNoEndorsementKeyOrNoSubjectGetsNoCertificate) {
  const Family family = make_family(make_authority());
  const Form& form = kForms[4];
  Bytes key = tpmt_public(form, generate(form));
  for (const std::string& model :
       {std::string(), std::string(17, 'x'), std::string("a\nb"), std::string("a\0b", 3),
        std::string("\xc3\xa4"), std::string("\x7f")}) {
    KeySubject bad = subject();
    bad.model = model;
    const auto refused = family.certify_endorsement_key(key, bad);
    ASSERT_FALSE(refused) << model;
    EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
  }
  ASSERT_TRUE(family.certify_endorsement_key(key, subject()));
  key[6] ^= std::byte{4};  // the attribute `sign` beside `restricted`
  const auto refused = family.certify_endorsement_key(key, subject());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
}

TEST(Authority, ComesBackFromWhatItGaveOut) {
  const Authority made = make_authority();
  const auto loaded = Authority::load(made.private_key(), made.chain());
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->private_key(), made.private_key());
  EXPECT_EQ(loaded->root(), made.root());
  const Family family = make_family(*loaded);
  const auto again = Family::load(family.private_key(), family.certificate());
  ASSERT_TRUE(again) << again.error().message;
  const Form& form = kForms[6];
  const auto der = again->certify_endorsement_key(tpmt_public(form, generate(form)), subject());
  ASSERT_TRUE(der);
  EXPECT_EQ(verdict(made.root(), *der, family.certificate()), X509_V_OK);
}

TEST(Authority, DamagedOrMixedPartsAreRefused) {
  const Authority mine = make_authority(), other = make_authority();
  const SecretBytes key = mine.private_key();
  const Bytes certificate = mine.root();
  const auto outcome = [](ByteView k, ByteView c) {
    const auto loaded = Authority::load(k, {to_bytes(c)});
    EXPECT_EQ(ERR_peek_error(), 0U);
    return loaded ? "loaded" : std::string(to_string(loaded.error().code));
  };
  EXPECT_EQ(outcome(key, other.root()), "corrupt");
  EXPECT_EQ(outcome(certificate, key), "corrupt");
  EXPECT_EQ(outcome({}, certificate), "corrupt");
  EXPECT_EQ(outcome(key, {}), "corrupt");
  EXPECT_EQ(outcome(key, Bytes(std::size_t{1} << 20)), "corrupt");
  for (std::size_t i = 0; i < certificate.size(); i++) {
    Bytes bad = certificate;
    bad[i] ^= std::byte{1};
    EXPECT_EQ(outcome(key, bad), "corrupt") << "byte " << i << " of the certificate";
  }
  constexpr std::size_t kNumber = 35, kNumberEnd = kNumber + 48;  // the private one, in PKCS #8
  ASSERT_EQ(key.size(), kNumberEnd + 2 + 2 + 98);                 // then the public key
  for (std::size_t i = kNumber; i < kNumberEnd; i++) {
    SecretBytes bad = key;
    bad[i] ^= std::byte{1};
    EXPECT_EQ(outcome(bad, certificate), "corrupt") << "byte " << i << " of the key";
  }
  for (std::size_t size = 0; size < certificate.size(); size += 7)
    EXPECT_EQ(outcome(key, ByteView(certificate).first(size)), "corrupt") << size;
  for (std::size_t size = 0; size < key.size(); size++)
    EXPECT_EQ(outcome(ByteView(key).first(size), certificate), "corrupt") << size;
  SecretBytes longer = key;
  longer.push_back(std::byte{0});
  EXPECT_EQ(outcome(longer, certificate), "corrupt");
}

// A certificate of an endorsement key is none of an authority, though the root signed it.
TEST(Authority, IsNotMadeOfACertificateThatItIssued) {
  const Authority mine = make_authority();
  const Form& form = kForms[6];
  const Family family = make_family(mine);
  const auto der = family.certify_endorsement_key(tpmt_public(form, generate(form)), subject());
  ASSERT_TRUE(der);
  EXPECT_FALSE(Authority::load(mine.private_key(), {*der}));
  EXPECT_FALSE(Family::load(family.private_key(), *der));
  // That of a family is one of an authority, but not of a host's.
  EXPECT_FALSE(Authority::load(family.private_key(), {family.certificate()}));
  EXPECT_FALSE(Family::load(mine.private_key(), family.certificate()));
}

TEST(Authority, TheOpensslProgramVerifiesTheChain) {
  const TemporaryFolder folder;
  const Authority authority = make_authority();
  const Family family = make_family(authority);
  const auto write_pem = [&folder](const char* name, ByteView der) {
    const OwnedBy<BIO, BIO_free_all> memory(BIO_new(BIO_s_mem()));
    ASSERT_EQ(PEM_write_bio_X509(memory.get(), parse(der).get()), 1);
    char* data = nullptr;
    const long size = BIO_get_mem_data(memory.get(), &data);
    write_file(folder / name, {data, static_cast<std::size_t>(size)});
  };
  write_pem("root.pem", authority.root());
  write_pem("other.pem", make_authority().root());
  write_pem("family.pem", family.certificate());
  const auto verify = [&folder](const char* root) {
    const std::string command = "openssl verify -x509_strict -check_ss_sig -no-CApath -CAfile " +
                                (folder / root) + " -untrusted " + (folder / "family.pem") + " " +
                                (folder / "ek.pem") + " >" + (folder / "said") + " 2>&1";
    return std::system(command.c_str());  // NOLINT(cert-env33-c): words of ours alone
  };
  for (const Form& form : {kForms[0], kForms[4]}) {
    const auto der = family.certify_endorsement_key(tpmt_public(form, generate(form)), subject());
    ASSERT_TRUE(der);
    write_pem("ek.pem", *der);
    EXPECT_EQ(verify("root.pem"), 0) << read_file(folder / "said");
    EXPECT_NE(verify("other.pem"), 0);
  }
}

}  // namespace
}  // namespace vtpm::identity
