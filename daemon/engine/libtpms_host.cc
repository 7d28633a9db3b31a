// SPDX-License-Identifier: Apache-2.0
#include "engine/libtpms_host.h"

#include <libtpms/tpm_error.h>
#include <libtpms/tpm_library.h>
#include <libtpms/tpm_memory.h>
#include <libtpms/tpm_nvfilename.h>
#include <libtpms/tpm_tis.h>
#include <libtpms/tpm_types.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "engine/clock.h"

namespace vtpm::engine {
namespace {

// What the callbacks work on. Global because libtpms's own state is, and hands no context through.
struct Backend {
  bool in_use = false;
  bool permanent_changed = false;
  std::uint8_t locality = 0;
  SecretBytes permanent;
};

Backend& backend() {
  static Backend instance;
  return instance;
}

// The callbacks are called by C code: an exception must not pass, and there is nothing to throw but
// bad_alloc, which ends the process like any other crash of a worker.

TPM_RESULT on_init() noexcept { return TPM_SUCCESS; }

// libtpms manufactures if the permanent state is not there (TPM_RETRY), stores it, and loads it
// back. Answering TPM_RETRY to that second load as well gives a TPM that works and has empty seeds.
TPM_RESULT on_load(unsigned char** data, std::uint32_t* length, std::uint32_t /*tpm_number*/,
                   const char* name) noexcept {
  *data = nullptr;
  *length = 0;
  const SecretBytes& permanent = backend().permanent;
  if (std::strcmp(name, TPM_PERMANENT_ALL_NAME) != 0 || permanent.empty()) return TPM_RETRY;
  if (TPM_Malloc(data, static_cast<std::uint32_t>(permanent.size())) != TPM_SUCCESS)
    return TPM_FAIL;
  std::memcpy(*data, permanent.data(), permanent.size());
  *length = static_cast<std::uint32_t>(permanent.size());
  return TPM_SUCCESS;
}

// Never fails: an error would put the TPM into failure mode for good. Whether the state reaches a
// disk before the reply goes out is the worker's business.
TPM_RESULT on_store(const unsigned char* data, std::uint32_t length, std::uint32_t /*tpm_number*/,
                    const char* name) noexcept {
  if (std::strcmp(name, TPM_PERMANENT_ALL_NAME) != 0) return TPM_SUCCESS;
  const auto* first = reinterpret_cast<const std::byte*>(data);
  Backend& b = backend();
  wipe(b.permanent);
  b.permanent.assign(first, first + length);
  b.permanent_changed = true;
  return TPM_SUCCESS;
}

TPM_RESULT on_delete(std::uint32_t /*tpm_number*/, const char* /*name*/,
                     TPM_BOOL /*must_exist*/) noexcept {
  return TPM_SUCCESS;
}

TPM_RESULT on_get_locality(TPM_MODIFIER_INDICATOR* locality,
                           std::uint32_t /*tpm_number*/) noexcept {
  *locality = backend().locality;
  return TPM_SUCCESS;
}

TPM_RESULT on_get_physical_presence(TPM_BOOL* present, std::uint32_t /*tpm_number*/) noexcept {
  *present = 0;
  return TPM_SUCCESS;
}

// Memory for OpenSSL. libtpms takes a calculation that fails for want of memory as a broken TPM,
// and enters failure mode, which the next checkpoint would keep. To end here, as operator new does,
// leaves the last checkpoint to the next worker.
// NOLINTBEGIN(cppcoreguidelines-no-malloc,cppcoreguidelines-owning-memory): C owns what it gets
void* allocate(std::size_t size, const char* /*file*/, int /*line*/) noexcept {
  void* memory = std::malloc(size);
  if (memory == nullptr && size != 0) std::abort();
  return memory;
}
void* reallocate(void* old, std::size_t size, const char* /*file*/, int /*line*/) noexcept {
  void* memory = std::realloc(old, size);
  if (memory == nullptr && size != 0) std::abort();
  return memory;
}
void release(void* memory, const char* /*file*/, int /*line*/) noexcept { std::free(memory); }
// NOLINTEND(cppcoreguidelines-no-malloc,cppcoreguidelines-owning-memory)

std::string code(TPM_RESULT result) {
  const std::array<std::byte, 4> be = [result] {
    std::array<std::byte, 4> out{};
    store_be32(out.data(), result);
    return out;
  }();
  return "0x" + to_hex(be);
}

Result<void> set_state(TPMLIB_StateType type, ByteView blob, const char* name) {
  const auto* data = reinterpret_cast<const unsigned char*>(blob.data());
  const TPM_RESULT rc = TPMLIB_SetState(type, data, static_cast<std::uint32_t>(blob.size()));
  if (rc != TPM_SUCCESS)
    return fail(ErrorCode::corrupt,
                std::string("libtpms refuses the ") + name + " state: " + code(rc));
  return {};
}

// A blob that was set and not used by a MainInit would be taken by the next one.
void power_off() {
  TPMLIB_Terminate();
  Backend& b = backend();
  b.permanent = SecretBytes();
  b.permanent_changed = false;
  b.locality = 0;
}

Result<void> main_init() {
  if (const TPM_RESULT rc = TPMLIB_MainInit(); rc != TPM_SUCCESS)
    return fail(ErrorCode::corrupt, "libtpms does not start: " + code(rc));
  return {};
}

Result<void> set_and_init(ByteView permanent, ByteView volatile_state) {
  if (!permanent.empty()) VTPM_CHECK(set_state(TPMLIB_STATE_PERMANENT, permanent, "permanent"));
  if (!volatile_state.empty())
    VTPM_CHECK(set_state(TPMLIB_STATE_VOLATILE, volatile_state, "volatile"));
  return main_init();
}

}  // namespace

Result<void> initialize_libraries() {
  static const bool openssl = [] {
    // In a program that has used OpenSSL before, it keeps the allocator that it began with.
    (void)CRYPTO_set_mem_functions(allocate, reallocate, release);
    return OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr) == 1;
  }();
  if (!openssl) return fail(ErrorCode::internal, "OpenSSL does not initialise");
  if (backend().in_use) return {};
  VTPM_CHECK(check_libtpms_clock());
  if (TPMLIB_ChooseTPMVersion(TPMLIB_TPM_VERSION_2) != TPM_SUCCESS)
    return fail(ErrorCode::unsupported, "this libtpms has no TPM 2.0");
  libtpms_callbacks callbacks{};
  callbacks.sizeOfStruct = sizeof callbacks;
  callbacks.tpm_nvram_init = on_init;
  callbacks.tpm_nvram_loaddata = on_load;
  callbacks.tpm_nvram_storedata = on_store;
  callbacks.tpm_nvram_deletename = on_delete;
  callbacks.tpm_io_init = on_init;
  callbacks.tpm_io_getlocality = on_get_locality;
  callbacks.tpm_io_getphysicalpresence = on_get_physical_presence;
  if (const TPM_RESULT rc = TPMLIB_RegisterCallbacks(&callbacks); rc != TPM_SUCCESS)
    return fail(ErrorCode::internal, "libtpms refuses callbacks: " + code(rc));
  return {};
}

Result<std::unique_ptr<LibtpmsHost>> LibtpmsHost::power_on(ByteView permanent,
                                                           ByteView volatile_state) {
  Backend& b = backend();
  if (b.in_use) return fail(ErrorCode::busy, "this process runs a TPM already");
  VTPM_CHECK(initialize_libraries());
  const LibtpmsClock clock;
  b.permanent = to_secret(permanent);
  if (auto started = set_and_init(permanent, volatile_state); !started) {
    power_off();
    return tl::unexpected<Error>(std::move(started).error());
  }
  b.in_use = true;
  // A resume stores what it was given; that alone must not cost each wake a durable write.
  if (std::ranges::equal(permanent, b.permanent)) b.permanent_changed = false;
  return std::unique_ptr<LibtpmsHost>(new LibtpmsHost);
}

LibtpmsHost::~LibtpmsHost() {
  power_off();
  wipe_reply();
  TPM_Free(reply_);
  backend().in_use = false;
}

void LibtpmsHost::wipe_reply() {
  if (reply_ != nullptr)
    wipe({reinterpret_cast<std::byte*>(reply_), std::min(reply_size_, reply_capacity_)});
  reply_size_ = 0;
}

Result<ByteView> LibtpmsHost::process(ByteView command, std::uint8_t locality) {
  constexpr std::uint8_t kLastPlainLocality = 4;
  constexpr std::uint8_t kFirstExtendedLocality = 32;
  if (locality > kLastPlainLocality && locality < kFirstExtendedLocality)
    return fail(ErrorCode::invalid_argument, "no such locality: " + std::to_string(locality));
  wipe_reply();
  backend().locality = locality;
  command_.assign(command.begin(), command.end());
  // libtpms reads a header's worth without asking how much there is.
  constexpr std::size_t kHeaderSize = 10;
  command_.resize(std::max(command.size(), kHeaderSize));
  const LibtpmsClock clock;
  const TPM_RESULT rc = TPMLIB_Process(&reply_, &reply_size_, &reply_capacity_,
                                       reinterpret_cast<unsigned char*>(command_.data()),
                                       static_cast<std::uint32_t>(command.size()));
  wipe(command_);
  if (rc != TPM_SUCCESS)
    return fail(ErrorCode::internal, "libtpms fails to process a command: " + code(rc));
  return ByteView(reinterpret_cast<const std::byte*>(reply_), reply_size_);
}

bool LibtpmsHost::take_permanent_changed() {
  return std::exchange(backend().permanent_changed, false);
}

ByteView LibtpmsHost::permanent() const { return backend().permanent; }

Result<void> LibtpmsHost::read_volatile_state(SecretBytes& out) {
  unsigned char* data = nullptr;
  std::uint32_t size = 0;
  const LibtpmsClock clock;
  if (const TPM_RESULT rc = TPMLIB_GetState(TPMLIB_STATE_VOLATILE, &data, &size); rc != TPM_SUCCESS)
    return fail(ErrorCode::internal, "libtpms gives no volatile state: " + code(rc));
  const MutableByteView view(reinterpret_cast<std::byte*>(data), size);
  assign(out, view);
  wipe(view);
  TPM_Free(data);
  return {};
}

Result<void> LibtpmsHost::power_cycle() {
  Backend& b = backend();
  const SecretBytes permanent = b.permanent;
  const LibtpmsClock clock;
  TPMLIB_Terminate();
  b.locality = 0;
  return set_and_init(permanent, {});
}

Result<bool> LibtpmsHost::established() {
  TPM_BOOL value = 0;
  if (const TPM_RESULT rc = TPM_IO_TpmEstablished_Get(&value); rc != TPM_SUCCESS)
    return fail(ErrorCode::internal, "libtpms gives no TPM Established bit: " + code(rc));
  return value != 0;
}

Result<void> LibtpmsHost::reset_established(std::uint8_t locality) {
  backend().locality = locality;
  const TPM_RESULT rc = TPM_IO_TpmEstablished_Reset();
  if (rc == TPM_SUCCESS) return {};
  return fail(rc == TPM_BAD_LOCALITY ? ErrorCode::permission : ErrorCode::internal,
              "the TPM Established bit is not reset: " + code(rc));
}

}  // namespace vtpm::engine
