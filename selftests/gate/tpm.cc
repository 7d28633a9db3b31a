// SPDX-License-Identifier: Apache-2.0
#include "tpm.h"

#include <gtest/gtest.h>
#include <libtpms/tpm_library.h>
// The order of the two groups matters: the headers below need the types above.
#include <libtpms/tpm_error.h>
#include <libtpms/tpm_nvfilename.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

namespace vtpm::gate_test {
namespace {

constexpr std::size_t kSecretSize = 64;

// What libtpms stored last. A function's static, as its callbacks carry no context.
Bytes& stored() {
  static Bytes bytes;
  return bytes;
}

TPM_RESULT nothing() { return TPM_SUCCESS; }

TPM_RESULT load(unsigned char** data, uint32_t* size, uint32_t /*tpm*/, const char* name) {
  if (std::string_view(name) != TPM_PERMANENT_ALL_NAME || stored().empty()) return TPM_RETRY;
  *size = static_cast<uint32_t>(stored().size());
  *data = static_cast<unsigned char*>(std::malloc(*size));  // NOLINT: libtpms frees it
  std::memcpy(*data, stored().data(), *size);
  return TPM_SUCCESS;
}

TPM_RESULT store(const unsigned char* data, uint32_t size, uint32_t /*tpm*/, const char* name) {
  if (std::string_view(name) == TPM_PERMANENT_ALL_NAME) {
    stored() = to_bytes(std::as_bytes(std::span(data, size)));
  }
  return TPM_SUCCESS;
}

TPM_RESULT remove(uint32_t /*tpm*/, const char* /*name*/, TPM_BOOL /*must*/) { return TPM_SUCCESS; }

TPM_RESULT locality(TPM_MODIFIER_INDICATOR* out, uint32_t /*tpm*/) {
  *out = 0;
  return TPM_SUCCESS;
}

TPM_RESULT presence(TPM_BOOL* out, uint32_t /*tpm*/) {
  *out = 0;
  return TPM_SUCCESS;
}

struct Free {
  void operator()(unsigned char* p) const { std::free(p); }  // NOLINT: of libtpms
};

Bytes get_state(TPMLIB_StateType kind) {
  unsigned char* data = nullptr;
  uint32_t size = 0;
  EXPECT_EQ(TPMLIB_GetState(kind, &data, &size), TPM_SUCCESS);
  const std::unique_ptr<unsigned char, Free> owner(data);
  return to_bytes(std::as_bytes(std::span(data, size)));
}

}  // namespace

Tpm::Tpm(const Bytes& permanent) {
  libtpms_callbacks callbacks{};
  callbacks.sizeOfStruct = sizeof(callbacks);
  callbacks.tpm_nvram_init = nothing;
  callbacks.tpm_nvram_loaddata = load;
  callbacks.tpm_nvram_storedata = store;
  callbacks.tpm_nvram_deletename = remove;
  callbacks.tpm_io_init = nothing;
  callbacks.tpm_io_getlocality = locality;
  callbacks.tpm_io_getphysicalpresence = presence;
  stored().clear();
  EXPECT_EQ(TPMLIB_ChooseTPMVersion(TPMLIB_TPM_VERSION_2), TPM_SUCCESS);
  EXPECT_EQ(TPMLIB_RegisterCallbacks(&callbacks), TPM_SUCCESS);
  if (!permanent.empty()) {
    EXPECT_EQ(TPMLIB_SetState(TPMLIB_STATE_PERMANENT,
                              reinterpret_cast<const unsigned char*>(permanent.data()),
                              static_cast<uint32_t>(permanent.size())),
              TPM_SUCCESS);
  }
  EXPECT_EQ(TPMLIB_MainInit(), TPM_SUCCESS);
}

Tpm::~Tpm() { TPMLIB_Terminate(); }

std::unique_ptr<Tpm> Tpm::manufacture() { return std::unique_ptr<Tpm>(new Tpm({})); }

std::unique_ptr<Tpm> Tpm::blank() {
  Bytes state = manufacture()->permanent();
  EXPECT_FALSE(holds_no_secret(state));
  for (const std::size_t secret : find_secrets(state)) {
    std::fill_n(state.begin() + static_cast<std::ptrdiff_t>(secret), kSecretSize, std::byte{0});
  }
  EXPECT_TRUE(holds_no_secret(state));
  return std::unique_ptr<Tpm>(new Tpm(state));
}

std::unique_ptr<Tpm> Tpm::from(const Bytes& permanent) {
  return std::unique_ptr<Tpm>(new Tpm(permanent));
}

Bytes Tpm::run(ByteView frame) {
  Bytes in = to_bytes(frame);
  unsigned char* reply = nullptr;
  uint32_t size = 0;
  uint32_t capacity = 0;
  const TPM_RESULT result =
      TPMLIB_Process(&reply, &size, &capacity, reinterpret_cast<unsigned char*>(in.data()),
                     static_cast<uint32_t>(in.size()));
  const std::unique_ptr<unsigned char, Free> owner(reply);
  EXPECT_EQ(result, TPM_SUCCESS);
  return to_bytes(std::as_bytes(std::span(reply, size)));
}

void Tpm::startup() {
  EXPECT_EQ(to_hex(run(from_hex("80010000000c000001440000").value())), "80010000000a00000000");
}

Bytes Tpm::permanent() const { return get_state(TPMLIB_STATE_PERMANENT); }
Bytes Tpm::volatile_state() const { return get_state(TPMLIB_STATE_VOLATILE); }

// libtpms 0.9.2, src/tpm2/NVMarshal.c, PERSISTENT_DATA: version, magic, minimum version, disable
// clear, three algorithm identifiers, three policies, three authorizations, then the seeds and
// proofs.
std::array<std::size_t, 6> find_secrets(ByteView permanent) {
  const Bytes magic = from_hex("12213443").value();
  const auto found = std::ranges::search(permanent, magic);
  std::array<std::size_t, 6> offsets{};
  if (found.empty()) {
    ADD_FAILURE() << "the permanent state has no PERSISTENT_DATA";
    return offsets;
  }
  const ByteView data =
      permanent.subspan(static_cast<std::size_t>(found.begin() - permanent.begin()));
  Reader in(data);
  in.bytes(magic.size() + 9);  // min_version, disableClear, three algorithms
  for (int i = 0; i < 6; ++i) in.sized16();
  for (std::size_t& offset : offsets) {
    offset = permanent.size() - in.rest().size() + 2;
    EXPECT_EQ(in.sized16().size(), kSecretSize);
  }
  EXPECT_TRUE(in.ok());
  return offsets;
}

bool holds_no_secret(ByteView permanent) {
  return std::ranges::all_of(find_secrets(permanent), [&](std::size_t offset) {
    return std::ranges::all_of(permanent.subspan(offset, kSecretSize),
                               [](std::byte b) { return b == std::byte{0}; });
  });
}

}  // namespace vtpm::gate_test
