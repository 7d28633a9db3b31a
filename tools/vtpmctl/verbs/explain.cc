// SPDX-License-Identifier: Apache-2.0
#include <charconv>

#include "capture.h"
#include "frame/commands.h"
#include "policy/policy.h"
#include "verbs/verbs.h"
#include "words.h"

namespace vtpm::ctl {
namespace {

struct Options {
  std::vector<std::string> words;
  std::string mode = "read-only";
  std::string compat;
  std::uint32_t locality = 0;
};

// What a response code that the project gives means to the person whose client got it.
std::string_view meaning(std::uint32_t code) {
  switch (code) {
    case frame::kRcSuccess: return "The command was done.";
    case frame::kRcReadOnly:
      return "The device is in read-only mode: it makes, stores and uses no key or secret, and "
             "refuses each\ncommand that would. Measuring (PCRs, hashes, event logs), random "
             "numbers and queries work.\n'vtpmctl denied' lists what was refused, and why.";
    case frame::kRcFailure:
      return "The device is in failure mode: its state is lost or cannot be trusted. 'vtpmctl show "
             "NAME' says\nwhy; 'vtpmctl power-cycle NAME' starts it anew, with PCRs reset.";
    case frame::kRcCommandCode: return "No such command: the engine does not implement the code.";
    case frame::kRcCommandSize: return "The size in the header is not the size of the frame.";
    case frame::kRcAuthSize: return "The authorization area is not as long as it says.";
    case frame::kRcBadTag: return "The tag of the header is none of TPM 2.0.";
    case frame::kRcInitialize: return "TPM2_Startup has not been sent, or was sent already.";
    case 0x907: return "The command may not be sent from this locality.";
    default: return {};
  }
}

// "0x156" or "342": at most 32 bits, and not a frame, which has 20 digits at least.
std::optional<std::uint32_t> response_code_of(std::string_view text) {
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  if (hex) text.remove_prefix(2);
  if (text.empty() || text.size() > 8) return std::nullopt;
  std::uint32_t code = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), code, hex ? 16 : 10);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return code;
}

Exit explain_code(Session& session, std::uint32_t code) {
  const std::string_view text = meaning(code);
  if (session.json()) {
    session.print_json(Json{{"response_code", code},
                            {"name", response_code_name(code)},
                            {"meaning", text.empty() ? Json(nullptr) : Json(text)}});
    return Exit::ok;
  }
  session.print(fmt::format("{}\n", response_code_name(code)));
  if (text.empty())
    session.hint("it comes from the TPM's engine, not from the policy: 'tpm2 rc_decode' names it");
  else
    session.print(fmt::format("{}\n", text));
  return Exit::ok;
}

std::string handle_text(std::uint32_t handle) {
  switch (handle) {
    case frame::kRhOwner: return "owner";
    case frame::kRhNull: return "null";
    case frame::kRsPassword: return "password";
    case frame::kRhLockout: return "lockout";
    case frame::kRhEndorsement: return "endorsement";
    case frame::kRhPlatform: return "platform";
    default: return fmt::format("0x{:08x}", handle);
  }
}

std::string command_name(const policy::Decision& decision) {
  if (const frame::CommandInfo* info = frame::find_command(decision.code))
    return "TPM2_" + std::string(info->name);
  return decision.code != 0 ? fmt::format("0x{:08x}", decision.code) : "(malformed header)";
}

// Handles alone: nonces, passwords and parameters are the client's own.
std::string handles_text(const frame::Command& command) {
  std::string text;
  for (const std::uint32_t handle : command.handles())
    text += (text.empty() ? "" : " ") + handle_text(handle);
  return text;
}

std::string sessions_text(const frame::Command& command) {
  std::string text;
  for (const frame::Session& one : command.sessions())
    text += (text.empty() ? "" : " ") + handle_text(one.handle);
  return text;
}

struct Explained {
  policy::Decision decision;
  frame::Parsed parsed;
};

Json to_json(const Explained& one) {
  Json handles = Json::array();
  Json sessions = Json::array();
  for (const std::uint32_t handle : one.parsed.command.handles()) handles.push_back(handle);
  for (const frame::Session& entry : one.parsed.command.sessions())
    sessions.push_back(Json{{"handle", entry.handle}, {"attributes", entry.attributes}});
  return Json{{"command_code", one.decision.code},
              {"command", command_name(one.decision)},
              {"handles", std::move(handles)},
              {"sessions", std::move(sessions)},
              {"allowed", one.decision.allow},
              {"response_code", one.decision.allow ? Json(nullptr) : Json(one.decision.rc)},
              {"reason", policy::to_string(one.decision.reason)}};
}

Exit explain(Session& session, const Options& options) {
  const std::string what = fmt::format("{}", fmt::join(options.words, " "));
  if (const auto code = response_code_of(what)) return explain_code(session, *code);
  auto bytes = read_capture(what, session.environment().in);
  if (!bytes) return session.report(bytes.error());
  if (bytes->empty())
    return session.report(
        {Exit::usage, "there is no frame in it", "a frame has 10 bytes at least"});

  const policy::Gate gate(
      {.mode = options.mode == "read-only" ? policy::Mode::read_only : policy::Mode::read_write,
       .linux_hmac = options.compat == "linux-hmac"});
  std::vector<Explained> all;
  for (const ByteView frame : split_frames(*bytes))
    all.push_back(
        {gate.decide(frame, static_cast<std::uint8_t>(options.locality)), frame::parse(frame)});

  bool refused = false;
  Json array = Json::array();
  Table table({"COMMAND", "HANDLES", "SESSIONS", "DECISION", "REASON"});
  for (const Explained& one : all) {
    refused = refused || !one.decision.allow;
    if (session.json()) {
      array.push_back(to_json(one));
      continue;
    }
    table.add({{command_name(one.decision)},
               {handles_text(one.parsed.command)},
               {sessions_text(one.parsed.command)},
               {one.decision.allow ? "allowed" : response_code_name(one.decision.rc),
                one.decision.allow ? Tone::good : Tone::bad},
               {std::string(policy::to_string(one.decision.reason))}});
  }
  if (session.json())
    session.print_json(array);
  else
    session.print(table);
  return refused ? Exit::refused : Exit::ok;
}

}  // namespace

Action declare_explain(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  arguments.texts("FRAME", options->words, "hexadecimal digits, a file, - or a response code")
      .required();
  arguments.text("--mode", options->mode, "mode of the device").one_of({"read-only", "read-write"});
  arguments.text("--compat", options->compat, "as of 'vtpmctl create'").one_of({"linux-hmac"});
  arguments.number("--locality", options->locality, "from which the frame comes").between(0, 4);
  return [options](Session& session) { return explain(session, *options); };
}

}  // namespace vtpm::ctl
