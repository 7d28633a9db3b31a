// SPDX-License-Identifier: Apache-2.0
// Sealed bytes: format (1) | sized SRK name | sized TPM2B_PUBLIC | sized TPM2B_PRIVATE, sizes of 2.
#include "identity/host_tpm.h"

#include <fmt/format.h>
#include <tss2/tss2_mu.h>

#include <algorithm>
#include <array>

#include "identity/esys.h"

namespace vtpm::identity {
namespace {

constexpr std::uint8_t kFormat = 1;
constexpr std::size_t kMaxSecret = 128;
constexpr TPMA_NV kCounterAttributes = TPMA_NV_OWNERREAD | TPMA_NV_OWNERWRITE | TPMA_NV_AUTHREAD |
                                       TPMA_NV_NO_DA | (TPM2_NT_COUNTER << TPMA_NV_TPM2_NT_SHIFT);

TPM2B_PUBLIC srk_template() {
  TPM2B_PUBLIC t{};
  t.publicArea.type = TPM2_ALG_ECC;
  t.publicArea.nameAlg = TPM2_ALG_SHA256;
  t.publicArea.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                                  TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
                                  TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT;
  TPMS_ECC_PARMS& ecc = t.publicArea.parameters.eccDetail;
  ecc.symmetric.algorithm = TPM2_ALG_AES;
  ecc.symmetric.keyBits.aes = 128;
  ecc.symmetric.mode.aes = TPM2_ALG_CFB;
  ecc.scheme.scheme = TPM2_ALG_NULL;
  ecc.curveID = TPM2_ECC_NIST_P256;
  ecc.kdf.scheme = TPM2_ALG_NULL;
  return t;
}

template <class T, class Marshal>
Result<Bytes> marshalled(const T& value, Marshal marshal) {
  std::array<std::uint8_t, sizeof(T) + 16> buffer{};
  std::size_t size = 0;
  if (const TSS2_RC rc = marshal(&value, buffer.data(), buffer.size(), &size);
      rc != TSS2_RC_SUCCESS)
    return fail_tss(rc, "cannot write what the TPM sealed");
  return to_bytes(std::as_bytes(std::span(buffer)).first(size));
}

template <class T, class Unmarshal>
bool unmarshalled(ByteView bytes, T& value, Unmarshal unmarshal) {
  std::size_t offset = 0;
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  return unmarshal(data, bytes.size(), &offset, &value) == TSS2_RC_SUCCESS &&
         offset == bytes.size();
}

}  // namespace

struct HostTpm::State {
  TSS2_TCTI_CONTEXT* tcti = nullptr;
  ESYS_CONTEXT* esys = nullptr;
  Loaded srk;
  Bytes srk_name;

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    srk = Loaded();
    if (esys != nullptr) Esys_Finalize(&esys);
    if (tcti != nullptr) Tss2_TctiLdr_Finalize(&tcti);
  }

  Result<void> make_srk();
  // `type` of session, salted to the SRK; `attributes` say which parameters it encrypts.
  Result<Loaded> session(TPM2_SE type, TPMA_SESSION attributes);
  Result<Loaded> unseal_only_session(TPM2_SE type);
  Result<ESYS_TR> find_counter(std::uint32_t index);
};

HostTpm::HostTpm(std::unique_ptr<State> state) : state_(std::move(state)) {}
HostTpm::HostTpm(HostTpm&&) noexcept = default;
HostTpm& HostTpm::operator=(HostTpm&&) noexcept = default;
HostTpm::~HostTpm() = default;

Result<HostTpm> HostTpm::connect(const std::string& tcti) {
  auto state = std::make_unique<State>();
  if (tcti.empty())
    return fail(ErrorCode::invalid_argument, "no TPM is named",
                "name it as tpm2-tss does, as in tpm:device:/dev/tpmrm0");
  if (const TSS2_RC rc = Tss2_TctiLdr_Initialize(tcti.c_str(), &state->tcti); rc != TSS2_RC_SUCCESS)
    return fail_tss(rc, "cannot reach the TPM of the host at " + tcti);
  if (const TSS2_RC rc = Esys_Initialize(&state->esys, state->tcti, nullptr); rc != TSS2_RC_SUCCESS)
    return fail_tss(rc, "cannot use the TPM of the host at " + tcti);
  VTPM_CHECK(state->make_srk());
  return HostTpm(std::move(state));
}

Result<void> HostTpm::State::make_srk() {
  const TPM2B_PUBLIC in = srk_template();
  const TPM2B_SENSITIVE_CREATE sensitive{};
  const TPM2B_DATA outside{};
  const TPML_PCR_SELECTION pcrs{};
  ESYS_TR handle = ESYS_TR_NONE;
  TPM2B_PUBLIC* out = nullptr;
  TPM2B_CREATION_DATA* data = nullptr;
  TPM2B_DIGEST* hash = nullptr;
  TPMT_TK_CREATION* ticket = nullptr;
  if (const TSS2_RC rc = Esys_CreatePrimary(esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                            ESYS_TR_NONE, &sensitive, &in, &outside, &pcrs, &handle,
                                            &out, &data, &hash, &ticket);
      rc != TSS2_RC_SUCCESS)
    return fail_tss(rc, "the TPM of the host makes no storage root key");
  srk = Loaded(esys, handle);
  const Owned<TPM2B_PUBLIC> o(out);
  const Owned<TPM2B_CREATION_DATA> d(data);
  const Owned<TPM2B_DIGEST> h(hash);
  const Owned<TPMT_TK_CREATION> t(ticket);
  TPM2B_NAME* name = nullptr;
  if (const TSS2_RC rc = Esys_TR_GetName(esys, handle, &name); rc != TSS2_RC_SUCCESS)
    return fail_tss(rc, "the TPM of the host does not name its storage root key");
  const Owned<TPM2B_NAME> n(name);
  srk_name = to_bytes(std::as_bytes(std::span(n->name)).first(n->size));
  return {};
}

Result<Loaded> HostTpm::State::session(TPM2_SE type, TPMA_SESSION attributes) {
  const TPMT_SYM_DEF symmetric{
      .algorithm = TPM2_ALG_AES, .keyBits = {.aes = 128}, .mode = {.aes = TPM2_ALG_CFB}};
  ESYS_TR handle = ESYS_TR_NONE;
  if (const TSS2_RC rc =
          Esys_StartAuthSession(esys, srk.handle(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                ESYS_TR_NONE, nullptr, type, &symmetric, TPM2_ALG_SHA256, &handle);
      rc != TSS2_RC_SUCCESS)
    return fail_tss(rc, "the TPM of the host starts no session");
  Loaded session(esys, handle);
  if (const TSS2_RC rc =
          Esys_TRSess_SetAttributes(esys, handle, attributes | TPMA_SESSION_CONTINUESESSION, 0xff);
      rc != TSS2_RC_SUCCESS)
    return fail_tss(rc, "the TPM of the host starts no session");
  return session;
}

Result<Loaded> HostTpm::State::unseal_only_session(TPM2_SE type) {
  VTPM_TRY(Loaded policy, session(type, type == TPM2_SE_POLICY ? TPMA_SESSION_ENCRYPT : 0));
  if (const TSS2_RC rc = Esys_PolicyCommandCode(esys, policy.handle(), ESYS_TR_NONE, ESYS_TR_NONE,
                                                ESYS_TR_NONE, TPM2_CC_Unseal);
      rc != TSS2_RC_SUCCESS)
    return fail_tss(rc, "the TPM of the host takes no policy");
  return policy;
}

Result<Bytes> HostTpm::seal(ByteView secret) {
  State& s = *state_;
  if (secret.empty() || secret.size() > kMaxSecret)
    return fail(ErrorCode::invalid_argument, "a TPM seals 1 to 128 bytes");
  TPM2B_PUBLIC in{};
  in.publicArea.type = TPM2_ALG_KEYEDHASH;
  in.publicArea.nameAlg = TPM2_ALG_SHA256;
  // No userWithAuth: the policy is the only way in, and it is good for TPM2_Unseal alone.
  in.publicArea.objectAttributes =
      TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_NODA;
  in.publicArea.parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL;
  {
    VTPM_TRY(const Loaded trial, s.unseal_only_session(TPM2_SE_TRIAL));
    TPM2B_DIGEST* digest = nullptr;
    if (const TSS2_RC rc = Esys_PolicyGetDigest(s.esys, trial.handle(), ESYS_TR_NONE, ESYS_TR_NONE,
                                                ESYS_TR_NONE, &digest);
        rc != TSS2_RC_SUCCESS)
      return fail_tss(rc, "the TPM of the host takes no policy");
    in.publicArea.authPolicy = *Owned<TPM2B_DIGEST>(digest);
  }
  VTPM_TRY(const Loaded session, s.session(TPM2_SE_HMAC, TPMA_SESSION_DECRYPT));
  TPM2B_SENSITIVE_CREATE sensitive{};
  sensitive.sensitive.data.size = static_cast<UINT16>(secret.size());
  std::ranges::copy(secret, reinterpret_cast<std::byte*>(sensitive.sensitive.data.buffer));
  const TPM2B_DATA outside{};
  const TPML_PCR_SELECTION pcrs{};
  TPM2B_PRIVATE* private_part = nullptr;
  TPM2B_PUBLIC* public_part = nullptr;
  TPM2B_CREATION_DATA* data = nullptr;
  TPM2B_DIGEST* hash = nullptr;
  TPMT_TK_CREATION* ticket = nullptr;
  const TSS2_RC rc =
      Esys_Create(s.esys, s.srk.handle(), session.handle(), ESYS_TR_NONE, ESYS_TR_NONE, &sensitive,
                  &in, &outside, &pcrs, &private_part, &public_part, &data, &hash, &ticket);
  wipe(std::as_writable_bytes(std::span(&sensitive, 1)));
  if (rc != TSS2_RC_SUCCESS) return fail_tss(rc, "the TPM of the host does not seal");
  const Owned<TPM2B_PRIVATE> p(private_part);
  const Owned<TPM2B_PUBLIC> q(public_part);
  const Owned<TPM2B_CREATION_DATA> d(data);
  const Owned<TPM2B_DIGEST> h(hash);
  const Owned<TPMT_TK_CREATION> t(ticket);
  VTPM_TRY(const Bytes public_bytes, marshalled(*q, Tss2_MU_TPM2B_PUBLIC_Marshal));
  VTPM_TRY(const Bytes private_bytes, marshalled(*p, Tss2_MU_TPM2B_PRIVATE_Marshal));
  Bytes out;
  Writer(out).u8(kFormat).sized16(s.srk_name).sized16(public_bytes).sized16(private_bytes);
  return out;
}

Result<SecretBytes> HostTpm::unseal(ByteView sealed) {
  State& s = *state_;
  Reader reader(sealed);
  const bool known = reader.u8() == kFormat;
  const ByteView name = reader.sized16();
  const ByteView public_bytes = reader.sized16();
  const ByteView private_bytes = reader.sized16();
  TPM2B_PUBLIC public_part{};
  TPM2B_PRIVATE private_part{};
  if (!known || !reader.done() ||
      !unmarshalled(public_bytes, public_part, Tss2_MU_TPM2B_PUBLIC_Unmarshal) ||
      !unmarshalled(private_bytes, private_part, Tss2_MU_TPM2B_PRIVATE_Unmarshal))
    return fail(ErrorCode::corrupt, "what the TPM sealed is damaged", "restore it from a backup");
  if (!std::ranges::equal(name, s.srk_name))
    return fail(ErrorCode::failed_precondition,
                "another TPM sealed it, or the owner of this one was cleared since",
                "use the TPM that sealed it; without it, nothing opens it");
  ESYS_TR handle = ESYS_TR_NONE;
  {
    VTPM_TRY(const Loaded session, s.session(TPM2_SE_HMAC, 0));
    if (const TSS2_RC rc = Esys_Load(s.esys, s.srk.handle(), session.handle(), ESYS_TR_NONE,
                                     ESYS_TR_NONE, &private_part, &public_part, &handle);
        rc != TSS2_RC_SUCCESS)
      return fail(
          ErrorCode::corrupt,
          std::string("the TPM of the host does not take what it sealed: ") + Tss2_RC_Decode(rc),
          "restore it from a backup");
  }
  const Loaded object(s.esys, handle);
  VTPM_TRY(const Loaded policy, s.unseal_only_session(TPM2_SE_POLICY));
  TPM2B_SENSITIVE_DATA* data = nullptr;
  if (const TSS2_RC rc =
          Esys_Unseal(s.esys, handle, policy.handle(), ESYS_TR_NONE, ESYS_TR_NONE, &data);
      rc != TSS2_RC_SUCCESS)
    return fail_tss(rc, "the TPM of the host does not unseal");
  const Owned<TPM2B_SENSITIVE_DATA> d(data);
  return to_secret(std::as_bytes(std::span(d->buffer)).first(d->size));
}

Result<ESYS_TR> HostTpm::State::find_counter(std::uint32_t index) {
  ESYS_TR handle = ESYS_TR_NONE;
  const TSS2_RC rc =
      Esys_TR_FromTPMPublic(esys, index, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &handle);
  if ((rc & ~(TPM2_RC_N_MASK | TPM2_RC_P)) == TPM2_RC_HANDLE)
    return fail(ErrorCode::not_found, "the TPM of the host has no counter there");
  if (rc != TSS2_RC_SUCCESS) return fail_tss(rc, "cannot look for a counter in the TPM");
  TPM2B_NV_PUBLIC* found = nullptr;
  TPM2B_NAME* name = nullptr;
  if (const TSS2_RC read =
          Esys_NV_ReadPublic(esys, handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &found, &name);
      read != TSS2_RC_SUCCESS)
    return fail_tss(read, "cannot look at a counter in the TPM");
  const Owned<TPM2B_NV_PUBLIC> f(found);
  const Owned<TPM2B_NAME> n(name);
  if ((f->nvPublic.attributes & ~TPMA_NV_WRITTEN) != kCounterAttributes)
    return fail(ErrorCode::corrupt, "something else is where the TPM's counter should be",
                fmt::format("free the NV index {:#x}", index));
  return handle;
}

Result<std::uint64_t> HostTpm::counter(std::uint32_t index) {
  State& s = *state_;
  VTPM_TRY(const ESYS_TR handle, s.find_counter(index));
  VTPM_TRY(const Loaded session, s.session(TPM2_SE_HMAC, TPMA_SESSION_ENCRYPT));
  TPM2B_MAX_NV_BUFFER* value = nullptr;
  if (const TSS2_RC rc = Esys_NV_Read(s.esys, ESYS_TR_RH_OWNER, handle, session.handle(),
                                      ESYS_TR_NONE, ESYS_TR_NONE, sizeof(std::uint64_t), 0, &value);
      rc != TSS2_RC_SUCCESS)
    return fail_tss(rc, "cannot read the TPM's counter");
  const Owned<TPM2B_MAX_NV_BUFFER> v(value);
  if (v->size != sizeof(std::uint64_t))
    return fail(ErrorCode::corrupt, "the TPM's counter has another size");
  return load_be64(reinterpret_cast<const std::byte*>(v->buffer));
}

Result<std::uint64_t> HostTpm::make_counter(std::uint32_t index) {
  State& s = *state_;
  const auto there = s.find_counter(index);
  if (there || there.error().code != ErrorCode::not_found)
    return fail(ErrorCode::exists, "the TPM of the host has something at that index");
  VTPM_TRY(const Loaded session, s.session(TPM2_SE_HMAC, 0));
  TPM2B_NV_PUBLIC wanted{};
  wanted.nvPublic.nvIndex = index;
  wanted.nvPublic.nameAlg = TPM2_ALG_SHA256;
  wanted.nvPublic.attributes = kCounterAttributes;
  wanted.nvPublic.dataSize = sizeof(std::uint64_t);
  const TPM2B_AUTH none{};
  ESYS_TR handle = ESYS_TR_NONE;
  if (const TSS2_RC rc = Esys_NV_DefineSpace(s.esys, ESYS_TR_RH_OWNER, session.handle(),
                                             ESYS_TR_NONE, ESYS_TR_NONE, &none, &wanted, &handle);
      rc != TSS2_RC_SUCCESS)
    return fail_tss(rc, "the TPM of the host makes no counter");
  return advance(index);  // before it was advanced once it cannot be read
}

Result<std::uint64_t> HostTpm::advance(std::uint32_t index) {
  State& s = *state_;
  VTPM_TRY(const ESYS_TR handle, s.find_counter(index));
  {
    VTPM_TRY(const Loaded session, s.session(TPM2_SE_HMAC, 0));
    if (const TSS2_RC rc = Esys_NV_Increment(s.esys, ESYS_TR_RH_OWNER, handle, session.handle(),
                                             ESYS_TR_NONE, ESYS_TR_NONE);
        rc != TSS2_RC_SUCCESS)
      return fail_tss(rc, "the TPM of the host does not advance its counter");
  }
  return counter(index);
}

Result<void> HostTpm::remove_counter(std::uint32_t index) {
  State& s = *state_;
  VTPM_TRY(const ESYS_TR handle, s.find_counter(index));
  VTPM_TRY(const Loaded session, s.session(TPM2_SE_HMAC, 0));
  if (const TSS2_RC rc = Esys_NV_UndefineSpace(s.esys, ESYS_TR_RH_OWNER, handle, session.handle(),
                                               ESYS_TR_NONE, ESYS_TR_NONE);
      rc != TSS2_RC_SUCCESS)
    return fail_tss(rc, "the TPM of the host does not remove its counter");
  return {};
}

}  // namespace vtpm::identity
