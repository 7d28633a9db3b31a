// SPDX-License-Identifier: Apache-2.0
#include "work.h"

#include <fmt/format.h>

#include <array>
#include <functional>
#include <utility>

#include "session.h"

namespace bench {
namespace {

constexpr std::size_t kSecretSize = 32;
constexpr std::uint32_t kIndex = 0x01500040;

// The same command each time.
class Fixed final : public Work {
 public:
  Fixed(std::string name, Bytes request, std::size_t reply_size)
      : Work(std::move(name)), request_(std::move(request)), reply_size_(reply_size) {}
  const Bytes& request() override { return request_; }
  [[nodiscard]] std::size_t reply_size() const override { return reply_size_; }
  bool accept(ByteView reply) override {
    return code_of(reply) == 0 && reply.size() == reply_size_;
  }

 private:
  Bytes request_;
  std::size_t reply_size_;
};

class Extend final : public Work {
 public:
  Extend() : Work("PCR_Extend"), request_(pcr_extend()) {}
  bool prepare(Subject& subject) override {
    before_ = must(subject, pcr_read());
    return true;
  }
  void finish(Subject& subject) override {
    if (must(subject, pcr_read()) == before_) die("PCR_Extend changes nothing");
  }
  const Bytes& request() override { return request_; }
  [[nodiscard]] std::size_t reply_size() const override { return 19; }

 private:
  Bytes request_;
  Bytes before_;
};

class Random final : public Work {
 public:
  Random() : Work("GetRandom"), request_(get_random()) {}
  const Bytes& request() override { return request_; }
  [[nodiscard]] std::size_t reply_size() const override { return 44; }
  bool accept(ByteView reply) override {
    const bool new_one = vtpm::to_bytes(reply) != last_;
    last_ = vtpm::to_bytes(reply);
    return code_of(reply) == 0 && new_one;
  }

 private:
  Bytes request_;
  Bytes last_;
};

// An NV index of 32 bytes. Each write has other bytes: libtpms does not store what is there.
class Nv final : public Work {
 public:
  explicit Nv(bool writes)
      : Work(writes ? "NV_Write" : "NV_Read"), writes_(writes), data_(kSecretSize) {}
  bool prepare(Subject& subject) override {
    const ByteView reply = subject.exchange(nv_define(kIndex, kSecretSize), 0);
    if (code_of(reply) == kRcReadOnly) return false;
    if (code_of(reply) != 0) die(fmt::format("TPM2_NV_DefineSpace answers {:#x}", code_of(reply)));
    (void)must(subject, nv_write(kIndex, data_));
    return true;
  }
  void finish(Subject& subject) override {
    const Bytes held = must(subject, nv_read(kIndex, kSecretSize));
    const ByteView data = ByteView(held).subspan(kHeaderSize + 6, kSecretSize);
    if (vtpm::to_bytes(data) != data_) die("NV does not hold what was written last");
    (void)must(subject, nv_undefine(kIndex));
  }
  const Bytes& request() override {
    if (writes_) vtpm::store_be64(data_.data(), ++count_);
    request_ = writes_ ? nv_write(kIndex, data_) : nv_read(kIndex, kSecretSize);
    return request_;
  }
  [[nodiscard]] std::size_t reply_size() const override { return writes_ ? 19 : 53; }

 private:
  bool writes_;
  Bytes data_;
  std::uint64_t count_ = 0;
  Bytes request_;
};

// A key or an object that is loaded as long as the work lasts.
class Loaded : public Work {
 public:
  using Work::Work;
  void finish(Subject& subject) override { (void)must(subject, flush(handle_)); }

 protected:
  bool make_key(Subject& subject, const Bytes& create) {
    const ByteView reply = subject.exchange(create, 0);
    if (code_of(reply) == kRcReadOnly) return false;
    if (code_of(reply) != 0) die(fmt::format("TPM2_CreatePrimary answers {:#x}", code_of(reply)));
    handle_ = handle_in(reply);
    return true;
  }
  std::uint32_t handle_ = 0;
};

class Sign final : public Loaded {
 public:
  Sign() : Loaded("Sign") {}
  bool prepare(Subject& subject) override { return make_key(subject, create_signing_key()); }
  const Bytes& request() override {
    request_ = sign(handle_);
    return request_;
  }
  [[nodiscard]] std::size_t reply_size() const override { return 91; }

 private:
  Bytes request_;
};

// What is sealed has no policy and an empty authorization; `name_` is TPM2B_NAME's content.
class Unseal : public Loaded {
 public:
  explicit Unseal(std::string name = "Unseal") : Loaded(std::move(name)) {}
  bool prepare(Subject& subject) override {
    if (!make_key(subject, create_storage_key())) return false;
    const std::uint32_t parent = handle_;
    const Bytes sealed = must(subject, seal(parent, Bytes(kSecretSize, std::byte{0x5e})));
    vtpm::Reader in(ByteView(sealed).subspan(kHeaderSize + 4));
    const ByteView private_area = in.sized16();
    const Bytes loaded = must(subject, load(parent, private_area, in.sized16()));
    (void)must(subject, flush(parent));
    handle_ = handle_in(loaded);
    vtpm::Reader after(ByteView(loaded).subspan(kHeaderSize + 4 + 4));
    name_ = vtpm::to_bytes(after.sized16());
    return true;
  }
  const Bytes& request() override {
    request_ = unseal(handle_);
    return request_;
  }
  [[nodiscard]] std::size_t reply_size() const override { return 53; }
  bool accept(ByteView reply) override {
    return code_of(reply) == 0 && reply.size() > kHeaderSize + 6 + kSecretSize &&
           reply[kHeaderSize + 6] == std::byte{0x5e};
  }

 protected:
  Bytes name_;
  Bytes request_;
};

// The same by an HMAC session. Through /dev/tpmrmN that is what a program does by tpm2-tss: the
// kernel loads object and session before the command and saves them after it.
class SessionUnseal final : public Unseal {
 public:
  SessionUnseal() : Unseal("SessionUnseal") {}
  bool prepare(Subject& subject) override {
    if (!Unseal::prepare(subject)) return false;
    session_ = Session(name_);
    session_.start(subject);
    return true;
  }
  void finish(Subject& subject) override {
    session_.end(subject);
    Unseal::finish(subject);
  }
  const Bytes& request() override {
    request_ = session_.unseal(handle_);
    return request_;
  }
  [[nodiscard]] std::size_t reply_size() const override { return 117; }
  bool accept(ByteView reply) override { return session_.accept(reply); }

 private:
  Session session_;
};

using Maker = std::function<std::unique_ptr<Work>()>;
const std::vector<std::pair<std::string, Maker>>& makers() {
  static const std::vector<std::pair<std::string, Maker>> all{
      {"PCR_Read", [] { return std::make_unique<Fixed>("PCR_Read", pcr_read(), 62); }},
      {"PCR_Extend", [] { return std::make_unique<Extend>(); }},
      {"GetRandom", [] { return std::make_unique<Random>(); }},
      {"NV_Read", [] { return std::make_unique<Nv>(false); }},
      {"NV_Write", [] { return std::make_unique<Nv>(true); }},
      {"Sign", [] { return std::make_unique<Sign>(); }},
      {"Unseal", [] { return std::make_unique<Unseal>(); }},
      {"SessionUnseal", [] { return std::make_unique<SessionUnseal>(); }},
  };
  return all;
}

}  // namespace

std::unique_ptr<Work> make_work(const std::string& name) {
  for (const auto& [known, make] : makers())
    if (known == name) return make();
  die("no work " + name);
}

std::vector<std::string> works() {
  std::vector<std::string> names;
  for (const auto& [name, make] : makers()) names.push_back(name);
  return names;
}

void start(Subject& subject) {
  const std::uint32_t code = code_of(subject.exchange(startup(), kHeaderSize));
  if (code != 0 && code != kRcInitialize) die(fmt::format("TPM2_Startup answers {:#x}", code));
}

Bytes must(Subject& subject, ByteView request) {
  const ByteView reply = subject.exchange(request, 0);
  if (code_of(reply) != 0)
    die(fmt::format("command {:#x} answers {:#x}", vtpm::load_be32(request.data() + 6),
                    code_of(reply)));
  return vtpm::to_bytes(reply);
}

}  // namespace bench
