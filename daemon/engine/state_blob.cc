// SPDX-License-Identifier: Apache-2.0
#include "engine/state_blob.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <bit>
#include <string>

#include "base/uuid.h"
#include "frame/frame.h"

namespace vtpm::engine {
namespace {

// PRIMARY_SEED_SIZE and PROOF_SIZE of libtpms 0.9.2. A shorter seed in a blob is the mark of a
// manufacture that went wrong (all seeds empty), and is never accepted.
constexpr std::size_t kSeedSize = 64;
constexpr std::size_t kDrbgSeedSize = 48;  // AES-256 key and counter block
constexpr std::size_t kSha1Size = 20;

constexpr std::uint32_t kUnassigned = 0x40000008;      // TPM_RH_UNASSIGNED
constexpr std::uint32_t kFirstTransient = 0x80000000;  // TRANSIENT_FIRST
constexpr std::uint32_t kLoadedObjects = 3;            // MAX_LOADED_OBJECTS

struct Header {
  std::uint32_t magic;
  std::uint16_t version;  // the one that 0.9.2 writes
  const char* name;
};
constexpr Header kPersistentAll{0xab364723, 3, "PERSISTENT_ALL"};
constexpr Header kCompileConstants{0xc9ea6431, 3, "PA_COMPILE_CONSTANTS"};
constexpr Header kPersistentData{0x12213443, 4, "PERSISTENT_DATA"};
constexpr Header kOrderlyData{0x56657887, 2, "ORDERLY_DATA"};
constexpr Header kDrbgState{0x6fe83ea1, 2, "DRBG_STATE"};
constexpr Header kStateClearData{0x98897667, 2, "STATE_CLEAR_DATA"};
constexpr Header kPcrSave{0x7372eabc, 2, "PCR_SAVE"};
constexpr Header kPcrAuthValue{0x6be82eaf, 2, "PCR_AUTHVALUE"};
constexpr Header kStateResetData{0x01102332, 4, "STATE_RESET_DATA"};
constexpr Header kVolatileState{0x45637889, 4, "VOLATILE_STATE"};

// A Reader that knows where it is and remembers the first thing that it did not understand.
class Walk {
 public:
  explicit Walk(ByteView blob) : in_(blob), size_(blob.size()) {}

  [[nodiscard]] std::size_t offset() const { return size_ - in_.rest().size(); }
  [[nodiscard]] bool ok() const { return in_.ok() && problem_.empty(); }
  [[nodiscard]] bool at_end() const { return ok() && in_.done(); }

  template <std::size_t Size>
  std::size_t fixed() {  // a field of Size bytes: its offset
    const std::size_t at = offset();
    in_.bytes(Size);
    return at;
  }
  void pass(std::size_t n) { in_.bytes(n); }
  std::uint8_t u8() { return in_.u8(); }
  std::uint16_t u16() { return in_.u16(); }
  std::uint32_t u32() { return in_.u32(); }

  Field tpm2b() {
    const std::size_t size = in_.u16();
    const Field field{offset(), size};
    in_.bytes(size);
    return field;
  }
  Field tpm2b(std::size_t wanted, const char* name) {
    const Field field = tpm2b();
    if (in_.ok() && field.size != wanted)
      complain(std::string(name) + " has " + std::to_string(field.size) + " bytes");
    return field;
  }

  void header(const Header& wanted) {
    const std::uint16_t version = in_.u16();
    const std::uint32_t magic = in_.u32();
    in_.u16();  // the oldest version that can read this
    if (in_.ok() && magic != wanted.magic) complain(std::string("no ") + wanted.name);
    if (in_.ok() && magic == wanted.magic && version != wanted.version)
      complain(std::string(wanted.name) + " has version " + std::to_string(version));
  }

  // A block that a libtpms built without the feature skips: UINT8 there or not, UINT16 size. What
  // is not needed of it is passed over.
  void skip_block() {
    in_.u8();
    pass(in_.u16());
  }
  // The same, for who needs all of it as it is.
  Field whole_block() {
    bool inside = false;
    const std::size_t end = open_block(inside);
    const Field block{offset(), inside && ok() ? end - offset() : 0};
    close_block(end);
    return block;
  }
  // The same, to be read inside: the offset of its end. `inside` false = the block is absent.
  std::size_t open_block(bool& inside) {
    inside = in_.u8() != 0;
    const std::size_t size = in_.u16();
    const std::size_t end = offset() + size;
    if (end > size_) in_.fail();
    if (!inside) pass(size);
    return end;
  }
  void close_block(std::size_t end) {
    if (!ok()) return;
    if (offset() > end) return complain("a block is shorter than its content");
    pass(end - offset());
  }

  void magic(std::uint32_t wanted) {
    if (in_.u32() != wanted && in_.ok()) complain("no end marker");
  }
  void complain(std::string what) {
    if (problem_.empty()) problem_ = std::move(what);
  }

  [[nodiscard]] tl::unexpected<Error> failure(const char* which) const {
    return fail(ErrorCode::corrupt,
                std::string(which) + " state: " + (problem_.empty() ? "truncated" : problem_),
                "it is damaged or was not written by libtpms 0.9");
  }

 private:
  Reader in_;
  std::size_t size_;
  std::string problem_;
};

Field walk_pcr_selections(Walk& w) {  // TPML_PCR_SELECTION
  const std::size_t begin = w.offset();
  const std::uint32_t count = w.u32();
  for (std::uint32_t i = 0; i < count && w.ok(); ++i) {
    w.u16();  // hash algorithm
    w.pass(w.u8());
  }
  return {begin, w.offset() - begin};
}

struct Orderly {
  std::size_t clock = 0;
  Field drbg_seed;
};

Orderly walk_orderly_data(Walk& w) {
  Orderly orderly;
  w.header(kOrderlyData);
  orderly.clock = w.fixed<8>();
  w.u8();  // clockSafe
  w.header(kDrbgState);
  w.fixed<8>();  // reseedCounter
  w.u32();       // magic of the running state
  orderly.drbg_seed = w.tpm2b(kDrbgSeedSize, "drbg seed");
  w.pass(std::size_t{4} * w.u16());            // lastValue: the continuous test
  for (int i = 0; i < 3; ++i) w.skip_block();  // self-heal and lockout timers, time
  return orderly;
}

// TPM_SU_STATE, whatever stands in TPM_SU_STATE_MASK's bits: started before, at locality 3.
bool state_is_saved(std::uint16_t orderly_state) { return (orderly_state & 0x3fff) == 0x0001; }

void walk_state_clear(Walk& w, StateFields& v) {
  w.header(kStateClearData);
  v.storage_enabled = w.fixed<1>();
  v.endorsement_enabled = w.fixed<1>();
  v.platform_nv_enabled = w.fixed<1>();
  w.u16();  // platformAlg
  v.platform_policy = w.tpm2b();
  v.platform_auth = w.tpm2b();

  w.header(kPcrSave);
  w.u16();                                                       // number of banks
  while (w.ok() && w.u16() != frame::kAlgNull) w.pass(w.u16());  // that ends the list
  w.skip_block();                                                // pcrCounter

  w.header(kPcrAuthValue);
  const std::uint16_t groups = w.u16();
  for (unsigned i = 0; i < groups && w.ok(); ++i) w.tpm2b();
  w.skip_block();
  w.skip_block();
}

void walk_state_reset(Walk& w, StateFields& v) {
  w.header(kStateResetData);
  v.null_proof = w.tpm2b();
  v.null_seed = w.tpm2b();
  w.u32();                           // clearCount
  w.fixed<8>();                      // objectContextID
  w.pass(std::size_t{2} * w.u16());  // contextArray
  w.u16();                           // its slot size
  w.fixed<8>();                      // contextCounter
  w.tpm2b();                         // commandAuditDigest
  w.u32();                           // restartCount
  w.u32();                           // pcrCounter
  bool with_commit = false;
  const std::size_t end = w.open_block(with_commit);
  if (with_commit) {
    w.fixed<8>();  // commitCounter
    v.commit_nonce = w.tpm2b();
    w.close_block(end);
  } else {
    w.complain("no commit nonce");
  }
  w.skip_block();
}

bool all_zero(ByteView bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

std::array<Field, 6> secrets_of(const PermanentLayout& p) {
  return {p.endorsement_seed, p.storage_seed,  p.platform_seed,
          p.platform_proof,   p.storage_proof, p.endorsement_proof};
}

Result<std::array<std::byte, kSha1Size>> sha1_before_tail(ByteView blob) {
  std::array<std::byte, kSha1Size> digest{};
  if (blob.size() < kSha1Size) return fail(ErrorCode::corrupt, "volatile state: truncated");
  unsigned size = 0;
  if (EVP_Digest(blob.data(), blob.size() - kSha1Size,
                 reinterpret_cast<unsigned char*>(digest.data()), &size, EVP_sha1(), nullptr) != 1)
    return fail(ErrorCode::internal, "OpenSSL refuses SHA-1");
  return digest;
}

}  // namespace

namespace {

void walk_beginning(Walk& w, PermanentLayout& p) {
  w.header(kPersistentAll);
  w.header(kCompileConstants);
  const std::uint32_t constants = w.u32();
  w.pass(std::size_t{4} * constants);
  w.skip_block();

  w.header(kPersistentData);
  w.u8();        // disableClear
  w.fixed<6>();  // owner, endorsement and lockout algorithm
  p.owner_policy = w.tpm2b();
  p.endorsement_policy = w.tpm2b();
  p.lockout_policy = w.tpm2b();
  p.owner_auth = w.tpm2b();
  p.endorsement_auth = w.tpm2b();
  p.lockout_auth = w.tpm2b();
  p.endorsement_seed = w.tpm2b(kSeedSize, "endorsement seed");
  p.storage_seed = w.tpm2b(kSeedSize, "storage seed");
  p.platform_seed = w.tpm2b(kSeedSize, "platform seed");
  p.platform_proof = w.tpm2b(kSeedSize, "platform proof");
  p.storage_proof = w.tpm2b(kSeedSize, "storage proof");
  p.endorsement_proof = w.tpm2b(kSeedSize, "endorsement proof");
  p.total_reset_count = w.fixed<8>();
  p.reset_count = w.fixed<4>();
  w.skip_block();  // PCR policies
  p.pcr_banks = walk_pcr_selections(w);
  w.tpm2b();  // ppList
  p.failed_tries = w.fixed<4>();
  w.fixed<12>();  // maxTries, recoveryTime, lockoutRecovery
  p.lockout_enabled = w.fixed<1>();
}

}  // namespace

Result<PermanentLayout> parse_beginning(ByteView blob) {
  PermanentLayout p;
  Walk w(blob);
  walk_beginning(w, p);
  if (!w.ok()) return w.failure("permanent");
  return p;
}

Result<PermanentLayout> parse_permanent(ByteView blob) {
  PermanentLayout p;
  Walk w(blob);
  walk_beginning(w, p);
  p.orderly_state = w.fixed<2>();
  p.audited_commands = w.tpm2b();
  w.u16();        // auditHashAlg
  w.fixed<8>();   // auditCounter
  w.fixed<12>();  // algorithmSet, firmware versions
  const std::uint8_t epoch_size = w.u8();
  p.time_epoch = {w.offset(), epoch_size};
  w.pass(epoch_size);
  bool newer = false;  // what versions 3 and 4 of the structure added
  const std::size_t end = w.open_block(newer);
  if (newer) {
    p.next_pcr_banks = walk_pcr_selections(w);
    bool with_compat = false;
    const std::size_t compat_end = w.open_block(with_compat);
    if (!with_compat) w.complain("no seed compatibility levels");
    p.seed_compat = w.fixed<3>();
    w.close_block(compat_end);
    w.close_block(end);
  } else {
    w.complain("PERSISTENT_DATA is too old");
  }
  const Orderly orderly = walk_orderly_data(w);
  p.clock = orderly.clock;
  p.drbg_seed = orderly.drbg_seed;
  const std::size_t saved = w.offset();
  if (w.ok() && state_is_saved(load_be16(blob.data() + p.orderly_state))) {
    walk_state_reset(w, p.saved);
    walk_state_clear(w, p.saved);
  }
  p.saved_state = {saved, w.offset() - saved};
  if (!w.ok()) return w.failure("permanent");
  return p;
}

Result<VolatileLayout> parse_volatile(ByteView blob) {
  VolatileLayout v;
  Walk w(blob.first(blob.size() - std::min(blob.size(), kSha1Size)));
  w.header(kVolatileState);
  w.u32();       // exclusiveAuditSession
  w.fixed<8>();  // time
  v.platform_enabled = w.fixed<1>();
  w.u8();  // pcrReConfig
  // The sequence object of a dynamic launch, which libtpms uses as an index without a look.
  const std::uint32_t drtm = w.u32();
  if (w.ok() && drtm != kUnassigned && drtm - kFirstTransient >= kLoadedObjects)
    w.complain("impossible DRTM sequence");
  w.u8();          // DRTM before startup
  w.u8();          // startup at locality 3
  w.skip_block();  // daUsed
  w.u8();          // powerWasLost
  w.u16();         // previous orderly state
  w.u8();          // nvOk
  w.tpm2b();       // platformUniqueDetails
  const Orderly orderly = walk_orderly_data(w);
  v.clock = orderly.clock;
  v.drbg_seed = orderly.drbg_seed;
  walk_state_clear(w, v);
  walk_state_reset(w, v);
  w.u8();  // manufactured
  v.started = w.fixed<1>();

  // Objects, PCRs and sessions differ in length with what is loaded; libtpms wraps each in a block
  // that says its size.
  w.skip_block();  // session of the running command
  w.skip_block();  // self-heal timers
  w.skip_block();  // NV
  w.skip_block();  // objects
  v.pcrs = w.whole_block();
  w.skip_block();  // sessions
  w.u8();          // failure mode
  w.u8();          // established
  w.skip_block();  // why it failed
  w.skip_block();  // clock
  w.u8();          // timerReset
  w.u8();          // timerStopped
  w.u32();         // adjustRate
  v.host_clock = w.fixed<8>();
  bool with_seeds = false;
  const std::size_t end = w.open_block(with_seeds);
  if (!with_seeds) w.complain("no copies of the seeds");
  v.seed_copies = w.offset();
  w.tpm2b(kSeedSize, "endorsement seed");
  w.tpm2b(kSeedSize, "storage seed");
  w.tpm2b(kSeedSize, "platform seed");
  w.close_block(end);
  w.magic(kVolatileState.magic);
  if (!w.ok()) return w.failure("volatile");
  if (!w.at_end()) return fail(ErrorCode::corrupt, "volatile state: followed by garbage");
  return v;
}

Result<void> rehash_volatile(MutableByteView blob) {
  VTPM_TRY(const auto digest, sha1_before_tail(blob));
  std::copy(digest.begin(), digest.end(), blob.end() - kSha1Size);
  return {};
}

bool volatile_hash_ok(ByteView blob) {
  const auto digest = sha1_before_tail(blob);
  return digest && std::equal(digest->begin(), digest->end(), blob.end() - kSha1Size);
}

Result<void> renew_randomness(MutableByteView volatile_blob, bool commit_nonce_too) {
  // A new hash over damaged content would make it look sound.
  if (!volatile_hash_ok(volatile_blob))
    return fail(ErrorCode::corrupt, "volatile state: its hash does not match");
  VTPM_TRY(const VolatileLayout v, parse_volatile(volatile_blob));
  VTPM_CHECK(fill_random(volatile_blob.subspan(v.drbg_seed.offset, v.drbg_seed.size)));
  if (commit_nonce_too)
    VTPM_CHECK(fill_random(volatile_blob.subspan(v.commit_nonce.offset, v.commit_nonce.size)));
  return rehash_volatile(volatile_blob);
}

Result<void> restart_clock(MutableByteView volatile_blob, std::uint64_t host_clock_ms) {
  if (!volatile_hash_ok(volatile_blob))
    return fail(ErrorCode::corrupt, "volatile state: its hash does not match");
  VTPM_TRY(const VolatileLayout v, parse_volatile(volatile_blob));
  store_be64(volatile_blob.data() + v.host_clock, host_clock_ms);
  return rehash_volatile(volatile_blob);
}

Result<SecretBytes> make_blank(ByteView manufactured) {
  VTPM_TRY(const PermanentLayout p, parse_permanent(manufactured));
  SecretBytes blank = to_secret(manufactured);
  const auto zero = [&blank](const Field& field) {
    std::fill_n(blank.begin() + static_cast<std::ptrdiff_t>(field.offset), field.size,
                std::byte{0});
  };
  for (const Field& secret : secrets_of(p)) zero(secret);
  zero(p.drbg_seed);
  return blank;
}

Result<bool> has_exclusive_session(ByteView volatile_blob) {
  Walk w(volatile_blob);
  w.header(kVolatileState);
  const std::uint32_t session = w.u32();
  if (!w.ok()) return w.failure("volatile");
  return session != kUnassigned;
}

Result<bool> audits_commands(ByteView permanent_blob) {
  VTPM_TRY(const PermanentLayout p, parse_permanent(permanent_blob));
  int audited = 0;
  for (const std::byte commands :
       permanent_blob.subspan(p.audited_commands.offset, p.audited_commands.size))
    audited += std::popcount(std::to_integer<unsigned>(commands));
  return audited > 1;
}

Result<bool> is_blank(ByteView permanent_blob) {
  VTPM_TRY(const PermanentLayout p, parse_permanent(permanent_blob));
  const auto secrets = secrets_of(p);
  return std::all_of(secrets.begin(), secrets.end(), [&](const Field& field) {
    return all_zero(permanent_blob.subspan(field.offset, field.size));
  });
}

}  // namespace vtpm::engine
