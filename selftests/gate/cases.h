// SPDX-License-Identifier: Apache-2.0
// The conformance cases of read-only mode, as data: for each of the 110 commands, and for each form
// that a condition tells apart, a well-formed frame and what a read-only device must answer.
//
// Frames are text: "$name" stands for what an earlier case saved from its reply, so that a case can
// use a session or a hash sequence that exists.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace vtpm::gate_test {

enum class Expect : std::uint8_t {
  denied,  // exactly 80 01 00 00 00 0a 00 00 01 56
  passes,  // a reply with any response code but 0x156
  marked,  // passes, and shows TPMA_STARTUP_CLEAR.readOnly
};

enum class Save : std::uint8_t {
  nothing,
  handle,      // the handle in a successful reply
  context,     // the TPMS_CONTEXT in a reply of ContextSave
  allocation,  // the TPML_PCR_SELECTION in a reply of GetCapability(TPM_CAP_PCRS)
};

enum class Only : std::uint8_t { always, with_linux_hmac, without_linux_hmac };

inline constexpr std::uint32_t kAnyCode = 0xffffffff;

struct Case {
  std::string_view command;     // "PCR_Extend"; empty: `parameters` is the whole frame
  std::string_view form;        // what sets this case apart; may be empty
  std::string_view handles;     // "OWNER 81000001 $policy"
  std::string_view parameters;  // hex
  Expect expect = Expect::denied;
  std::uint32_t rc = kAnyCode;  // the one response code there can be, where there is one
  std::string_view save_as = {};
  Save save = Save::nothing;
  std::string_view sessions = {};  // session handles; empty: a password for each that needs one
  Only only = Only::always;
};

std::span<const Case> cases();
std::string title(const Case& one);

using Saved = std::map<std::string, Bytes, std::less<>>;

// The frame of a case; nothing if it needs what no earlier case saved.
std::optional<Bytes> build(const Case& one, const Saved& saved);
// Keeps what the case asks for from its reply.
void keep(const Case& one, ByteView reply, Saved& saved);

// May be sent through /dev/tpmrmN: names no transient object, sequence or session.
bool is_managed(const Case& one);

// Empty if the reply is what the case expects; else what is wrong with it.
std::string judge(const Case& one, ByteView reply);

}  // namespace vtpm::gate_test
