// SPDX-License-Identifier: Apache-2.0
// fuzz-seeds FOLDER: inputs to begin with, made by the code that the harnesses test, in
// FOLDER/TARGET. `run --merge` makes the corpus of the tree from these and from what runs found.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "device/parcel.h"
#include "engine/blank_template.h"
#include "engine/libtpms_host.h"
#include "engine/state_blob.h"
#include "frame/lineage.h"
#include "frame_case.h"
#include "identity/descent.h"
#include "identity/lineage.h"
#include "identity/pem.h"
#include "identity/test_keys.h"
#include "identity/test_story.h"
#include "journal/layout.h"
#include "privsep/fork_messages.h"
#include "privsep/messages.h"

namespace vtpm::fuzz {
namespace {

class Corpus {
 public:
  Corpus(const std::filesystem::path& root, const char* target) : folder_(root / target) {
    std::filesystem::create_directories(folder_);
  }
  void put(ByteView input) {
    std::ofstream file(folder_ / ("seed-" + std::to_string(count_++)), std::ios::binary);
    file.write(reinterpret_cast<const char*>(input.data()),
               static_cast<std::streamsize>(input.size()));
  }

 private:
  std::filesystem::path folder_;
  int count_ = 0;
};

void frames(Corpus corpus) {
  Dice dice{1};
  for (std::uint8_t flags = 0; flags < 8; ++flags)
    for (int i = 0; i < 60; ++i) {
      FrameCase c{.flags = flags, .exchanges = {}};
      const std::uint32_t count = 1 + dice.below(4);
      for (std::uint32_t n = 0; n < count; ++n) {
        Exchange e{.locality = static_cast<std::uint8_t>(dice.below(5)),
                   .command = some_command(dice),
                   .reply = {}};
        e.reply = some_reply(dice, e.command);
        c.exchanges.push_back(std::move(e));
      }
      corpus.put(encode_case(c));
    }
}

Checkpoint some_checkpoint() {
  Checkpoint c;
  c.boot_id.fill(std::byte{0xb0});
  c.incarnation = 3;
  c.permanent_version = 2;
  c.sequence = 41;
  c.permanent = SecretBytes(40, std::byte{0x70});
  c.volatile_state = SecretBytes(30, std::byte{0x76});
  c.reply = SecretBytes(10, std::byte{0x80});
  return c;
}

void messages(Corpus corpus) {
  using namespace privsep;
  Start start;
  start.device.bytes.fill(std::byte{5});
  start.name = "seed";
  start.node = NodeKind::socket;
  start.mode = DeviceMode::read_write;
  start.checkpoint = some_checkpoint();
  const std::vector<Message> all = {
      start,
      Stop{Stop::How::power_off},
      Committed{41, 2},
      Refused{"no room"},
      Ready{true},
      Failed{"no state"},
      Commit{some_checkpoint()},
      Denied{0x131, 3, 0, 0x156, 42, 1},
      Stopped{42, true},
      Adopt{},
      TakeIdentity{SecretBytes(40, std::byte{1})},
      Manufacture{IdentityProfile::ecc, SecretBytes(32, std::byte{4}), {}, {}},
      Manufacture{IdentityProfile::ecc,
                  SecretBytes(32, std::byte{4}),
                  {},
                  {},
                  SecretBytes(64, std::byte{5}),
                  SecretBytes(40, std::byte{1}),
                  false,
                  3,
                  SecretBytes(20, std::byte{6})},
      Manufacture{.profile = IdentityProfile::full,
                  .authorization = SecretBytes(32, std::byte{4}),
                  .ahead = SecretBytes(40, std::byte{7})},
      MakeAhead{IdentityProfile::full},
      MadeKeys{1, "model", 2, 3, 4, {Bytes(90, std::byte{2})}},
      Certificates{{Bytes(30, std::byte{3})}, Bytes(20, std::byte{5})},
      Manufactured{SecretBytes(40, std::byte{4}), SecretBytes(20, std::byte{5})},
      TellRunning{7},
      Running{7, SecretBytes(30, std::byte{6})}};
  for (const Message& message : all) corpus.put(encode(message));
  for (const ForkMessage& message :
       {ForkMessage{ForkRequest{1, {}, 2}}, ForkMessage{Forked{1, 77, 0}},
        ForkMessage{Died{77, 11}}, ForkMessage{Welcome{1, 5, 2, "1.0"}}, ForkMessage{Busy{5}},
        ForkMessage{Inherited{77, {}, 2, true, 11}}, ForkMessage{Control{2}},
        ForkMessage{Kill{77}}})
    corpus.put(encode(message));
  corpus.put(encode(some_checkpoint()));
}

Bytes with_kind(std::uint8_t kind, ByteView bytes) {
  Bytes out;
  Writer(out).u8(kind).bytes(bytes);
  return out;
}

void put_slot(Bytes& out, std::uint64_t word, const Checkpoint& checkpoint) {
  Writer(out).u8(1).u64(word);  // form: a whole commit word
  Writer(out).sized16(encode(checkpoint));
}

void records(Corpus corpus) {
  Checkpoint small = some_checkpoint();
  corpus.put(with_kind(0, encode(small)));
  Bytes sealing;
  Writer(sealing).u64(3).u64(2).u8(9).u8(0).u32(0).u8(0).bytes(encode(small));
  corpus.put(with_kind(1, sealing));
  journal::Header header;
  header.device.bytes.fill(std::byte{7});
  header.incarnation = 5;
  corpus.put(with_kind(2, ByteView(journal::encode_header(header)).first(128)));
  for (const std::uint64_t newer : {std::uint64_t{2}, std::uint64_t{4}, ~std::uint64_t{1}}) {
    Bytes file;
    put_slot(file, newer, small);
    put_slot(file, newer + 1, small);
    corpus.put(with_kind(3, file));
    Writer(file).u16(0).bytes(Bytes(64));
    for (std::uint64_t sequence = 42; sequence < 44; ++sequence) {
      const std::uint64_t number = newer + 1;
      Bytes entry;
      Writer(entry).u64(sequence).u8(3).sized32(Bytes(20)).sized32(Bytes(7));
      Writer(file).bytes(std::as_bytes(std::span(&number, 1))).sized32(entry).bytes(Bytes(4));
    }
    corpus.put(with_kind(3, file));
  }
  small.redo.push_back({2, SecretBytes(20, std::byte{0x80}), SecretBytes(10, std::byte{1})});
  small.redo.push_back({0, SecretBytes(30, std::byte{0x80}), small.reply});
  corpus.put(with_kind(0, encode(small)));
}

// Blobs of libtpms itself, of the public blank state; and one whose seeds are not zero.
Result<void> state_blobs(Corpus corpus) {
  VTPM_TRY(const ByteView blank, engine::blank_template());
  corpus.put(with_kind(0, blank));
  Bytes with_seeds = to_bytes(blank);
  VTPM_TRY(const engine::PermanentLayout layout, engine::parse_permanent(blank));
  with_seeds[layout.storage_seed.offset] = std::byte{0x5e};
  corpus.put(with_kind(0, with_seeds));
  VTPM_TRY(const auto tpm, engine::LibtpmsHost::power_on(blank, {}));
  // Startup, a policy session, a hash sequence, the owner's authorization.
  for (const char* command :
       {"80010000000c000001440000",
        "80010000003b0000017640000007400000070010"
        "00000000000000000000000000000000"
        "00000100100 00b",
        "80010000000e00000186000000 0b",
        "80020000002900000129400000010000000940000009000000000000083132333435363738"}) {
    std::string digits;
    for (const char* c = command; *c != 0; ++c)
      if (*c != ' ') digits += *c;
    const auto frame = from_hex(digits);
    if (!frame) return fail(ErrorCode::internal, "a command that is no hexadecimal");
    Bytes mended = *frame;
    mend_size(mended);
    VTPM_TRY(const ByteView reply, tpm->process(mended, 0));
    std::printf("%s: %s\n", digits.c_str(), to_hex(reply).substr(0, 20).c_str());
    SecretBytes state;
    VTPM_CHECK(tpm->read_volatile_state(state));
    corpus.put(with_kind(3, state));
  }
  corpus.put(with_kind(0, tpm->permanent()));
  return {};
}

void swtpm(Corpus corpus) {
  for (std::uint8_t code = 0; code < 20; ++code) {
    Bytes request;
    Writer(request).u8(8 << 2).u32(code).u32(code % 5);  // for the parser
    Writer(request).u8(8).u8(code).u8(code % 5);         // and for a channel
    Writer(request).u8(2).u8(3).u8(code % 8).u8(8).u8(2).u8(0).u8(1).u16(100).u8(0x55);
    corpus.put(request);
  }
  for (std::uint8_t operation = 0; operation < 14; ++operation)
    for (std::uint8_t next = 0; next < 14; ++next) {
      Bytes script;
      Writer(script).u8(0).u8(1).u16(40).u8(9).u8(operation).u8(5).u8(next).u32(0x01020304);
      corpus.put(script);
    }
}

// One of each template, and their public parts of another length or kind.
void endorsement_keys(Corpus corpus) {
  using namespace identity::testing;
  for (const Form& form : kForms) {
    const Bytes good = tpmt_public(form, generate(form));
    corpus.put(good);
    corpus.put(tpmt_public(form, Bytes(form.field, std::byte{0xff}), Bytes(form.field)));
    corpus.put(tpmt_public(form, Bytes(form.field - 1), Bytes(form.field - 1)));
    corpus.put(head_of(form));
    Form other = form;
    other.attributes ^= 0x00040000;  // sign
    corpus.put(tpmt_public(other, Bytes(form.field), Bytes(form.field)));
  }
}

// An event, a log of two, what a certificate and a record say, and an attestation key.
void lineages(Corpus corpus) {
  using namespace identity;
  Lineage lineage;
  lineage.family_key = SecretBytes(20, std::byte{1});
  lineage.family_certificate = Bytes(30, std::byte{2});
  lineage.authorization = SecretBytes(32, std::byte{3});
  lineage.certificates = {Bytes(10, std::byte{4}), Bytes(12, std::byte{5})};
  Event event;
  event.device.bytes.fill(std::byte{6});
  lineage.log.push_back({event, Bytes(8, std::byte{7})});
  event.parent = event.device;
  event.kind = EventKind::clone;
  event.generation = 2;
  event.parent_lineage = replay(lineage.log).value().lineage;
  lineage.log.push_back({event, Bytes(8, std::byte{8})});
  corpus.put(with_kind(0, as_bytes(to_text(lineage.log))));
  corpus.put(with_kind(1, encode(Descent{})));
  corpus.put(with_kind(1, encode(Descent{.generation = 300, .parent = Digest{}})));
  corpus.put(with_kind(2, encode(lineage)));
  const auto form = testing::kForms[4];
  const Key key = testing::generate(form);
  Bytes area = frame::attestation_key_head(Digest{});
  Writer(area)
      .sized16(testing::number_of(key, OSSL_PKEY_PARAM_EC_PUB_X, 32))
      .sized16(testing::number_of(key, OSSL_PKEY_PARAM_EC_PUB_Y, 32));
  corpus.put(with_kind(3, area));
}

// A device three generations deep with all that can be shown of it, and its files.
class Shown : identity::testing::Story {
 public:
  void put(Corpus corpus) {
    constexpr long kFiftyYears = 50L * 365 * 24 * 3600;
    const auto of_family = [&](const Bytes& revoked) {
      return list_of(family_.private_key(), family_.certificate(), revoked, kFiftyYears);
    };
    corpus.put(encoded());
    evidence_.kin = {certificates_[0]};
    evidence_.lists = {
        of_family(certificates_[0]),
        list_of(authority_.private_key(), authority_.root(), stranger_.certificate(), kFiftyYears)};
    prove_live();
    corpus.put(encoded());
    evidence_.lists = {of_family(certificates_[2])};
    corpus.put(encoded());
    std::string pem = "root of somebody\n";
    for (const Bytes& der : {evidence_.root, family_.certificate(), evidence_.certificate})
      pem += identity::testing::must(identity::to_pem(der));
    corpus.put(with_kind(0, as_bytes(pem)));
  }

 private:
  // As verify.cc reads it.
  [[nodiscard]] Bytes encoded() const {
    Bytes out;
    Writer writer(out);
    const auto several = [&writer](const std::vector<Bytes>& all) {
      writer.u8(static_cast<std::uint8_t>(all.size()));
      for (const Bytes& one : all) writer.sized16(one);
    };
    writer.u8(1).u16(77).u8(3).sized16(evidence_.root);
    several(evidence_.issuers);
    writer.sized16(evidence_.certificate).sized16(as_bytes(evidence_.log));
    several(evidence_.kin);
    several(evidence_.lists);
    if (evidence_.live)
      writer.sized16(evidence_.live->nonce)
          .sized16(evidence_.live->lineage.attest)
          .sized16(evidence_.live->lineage.signature)
          .sized16(evidence_.live->generation.attest)
          .sized16(evidence_.live->generation.signature);
    return out;
  }
};

// As parcel.cc reads it: a file, what is in one, changes of one.
void parcels(Corpus corpus) {
  device::Parcel parcel;
  parcel.settings.name = "web";
  parcel.settings.owner = "shop";
  parcel.settings.park_after_s = 60;
  parcel.epoch = 3;
  parcel.permanent = SecretBytes(40, std::byte{1});
  parcel.lineage = SecretBytes(30, std::byte{2});
  corpus.put(with_kind(1, encode(parcel)));
  parcel.settings.park_after_s.reset();
  corpus.put(with_kind(1, encode(parcel)));
  Bytes file = to_bytes(as_bytes(std::string_view("vTPM-parcel\1")));
  file.resize(300, std::byte{4});
  corpus.put(with_kind(0, file));
  corpus.put(with_kind(2, *from_hex("ffff")));
  corpus.put(with_kind(2, *from_hex("0130")));
  corpus.put(with_kind(2, *from_hex("ffff000001003c80")));
}

void texts(Corpus corpus) {
  for (const std::string_view text :
       {"web", "a-b_c.d", "0b2ed7bb-3e14-4d0c-9c52-4a0f2bfa5c11", "it's", "a\\b\n\t",
        "\xc2\x85 \xe2\x80\xae \xf3\xa0\x81\x81", "00ff", "\x1b[2J", "\xe6\xbc\xa2\xe5\xad\x97",
        "\xed\xa0\x80"})
    corpus.put(as_bytes(text));
}

}  // namespace
}  // namespace vtpm::fuzz

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: fuzz-seeds FOLDER\n", stderr);
    return 2;
  }
  using namespace vtpm::fuzz;
  const std::filesystem::path root = argv[1];
  endorsement_keys({root, "endorsement_key"});
  frames({root, "frame"});
  lineages({root, "lineage"});
  messages({root, "messages"});
  parcels({root, "parcel"});
  records({root, "records"});
  swtpm({root, "swtpm"});
  texts({root, "text"});
  Shown().put({root, "verify"});
  if (const auto made = state_blobs({root, "state_blob"}); !made) {
    std::fprintf(stderr, "%s\n", made.error().message.c_str());
    return 1;
  }
  return 0;
}
