// SPDX-License-Identifier: Apache-2.0
// Text of a case -> frame, and reply -> verdict.
#include <fmt/format.h>

#include <array>
#include <sstream>
#include <vector>

#include "cases.h"
#include "frame/commands.h"
#include "frame/frame.h"

namespace vtpm::gate_test {
namespace {

std::vector<std::string> words(std::string_view text) {
  std::istringstream in{std::string(text)};
  std::vector<std::string> out;
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

std::string_view handle_by_name(std::string_view name) {
  constexpr auto names = std::to_array<std::pair<std::string_view, std::string_view>>({
      {"OWNER", "40000001"},
      {"NULL", "40000007"},
      {"LOCKOUT", "4000000a"},
      {"ENDORSEMENT", "4000000b"},
      {"PLATFORM", "4000000c"},
  });
  for (const auto& [known, digits] : names) {
    if (known == name) return digits;
  }
  return name;
}

// Words of hex, names of hierarchies and saved values, one after the other.
bool append(std::string_view text, const Saved& saved, Bytes& out) {
  for (const std::string& word : words(text)) {
    std::optional<Bytes> bytes;
    if (word.starts_with('$')) {
      if (const auto it = saved.find(word); it != saved.end()) bytes = it->second;
    } else {
      bytes = from_hex(handle_by_name(word));
    }
    if (!bytes) return false;
    out.insert(out.end(), bytes->begin(), bytes->end());
  }
  return true;
}

bool shows_read_only(ByteView reply) {
  Reader in(reply);
  in.bytes(frame::kHeaderSize);
  in.u8();   // moreData
  in.u32();  // capability
  const bool one = in.u32() == 1 && in.u32() == 0x201;
  return one && (in.u32() & 0x10) != 0 && in.ok();
}

}  // namespace

std::string title(const Case& one) {
  if (one.command.empty()) return fmt::format("header: {}", one.form);
  return one.form.empty() ? std::string(one.command) : fmt::format("{}: {}", one.command, one.form);
}

std::optional<Bytes> build(const Case& one, const Saved& saved) {
  Bytes frame;
  if (one.command.empty()) {
    if (!append(one.parameters, saved, frame)) return std::nullopt;
    return frame;
  }
  const frame::CommandInfo* info = frame::find_command(one.command);
  if (info == nullptr) return std::nullopt;

  Bytes sessions;
  constexpr std::string_view empty_session = "0000 00 0000";
  if (one.sessions.empty()) {
    for (int i = 0; i < info->auth_handles; ++i) {
      append("40000009", saved, sessions);
      append(empty_session, saved, sessions);
    }
  }
  for (const std::string& session : words(one.sessions)) {
    if (!append(session, saved, sessions)) return std::nullopt;
    append(empty_session, saved, sessions);
  }

  Writer w(frame);
  w.u16(sessions.empty() ? frame::kTagNoSessions : frame::kTagSessions).u32(0).u32(info->code);
  if (!append(one.handles, saved, frame)) return std::nullopt;
  if (!sessions.empty()) w.sized32(sessions);
  if (!append(one.parameters, saved, frame)) return std::nullopt;
  store_be32(frame.data() + 2, static_cast<std::uint32_t>(frame.size()));
  return frame;
}

void keep(const Case& one, ByteView reply, Saved& saved) {
  if (one.save == Save::nothing || frame::response_code(reply) != 0) return;
  Reader in(reply);
  in.bytes(frame::kHeaderSize);
  if (one.save == Save::handle) {
    const ByteView handle = in.bytes(4);
    if (in.ok()) saved[std::string(one.save_as)] = to_bytes(handle);
    return;
  }
  if (one.save == Save::allocation) in.bytes(5);  // moreData, capability
  if (in.ok()) saved[std::string(one.save_as)] = to_bytes(in.rest());
}

bool is_managed(const Case& one) {
  if (one.command.empty() || one.command == "FlushContext" || !one.sessions.empty()) return false;
  const bool uses_saved = one.parameters.starts_with('$') && one.parameters != "$allocation";
  if (uses_saved) return false;
  for (const std::string& handle : words(one.handles)) {
    if (handle.starts_with('$') || handle.starts_with("80") || handle.starts_with("02") ||
        handle.starts_with("03")) {
      return false;
    }
  }
  // The kernel's resource manager learns TPM_PT_TOTAL_COMMANDS commands; CertifyX509 may be beyond.
  return one.command != "CertifyX509";
}

std::string judge(const Case& one, ByteView reply) {
  const std::uint32_t rc = frame::response_code(reply);
  if (reply.size() < frame::kHeaderSize) {
    return fmt::format("a reply of {} bytes", reply.size());
  }
  if (one.expect == Expect::denied) {
    const auto expected = frame::reply_header(frame::kRcReadOnly);
    if (std::ranges::equal(reply, expected)) return {};
    return fmt::format("expected {}, got {}", to_hex(expected),
                       to_hex(reply.first(std::min<std::size_t>(reply.size(), 16))));
  }
  if (rc == frame::kRcReadOnly) return "refused with TPM_RC_READ_ONLY";
  if (one.rc != kAnyCode && rc != one.rc) {
    return fmt::format("expected response code {:#x}, got {:#x}", one.rc, rc);
  }
  if (one.expect == Expect::marked && !shows_read_only(reply)) {
    return "TPMA_STARTUP_CLEAR.readOnly is not set";
  }
  return {};
}

}  // namespace vtpm::gate_test
