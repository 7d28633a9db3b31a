// SPDX-License-Identifier: Apache-2.0
#include "session.h"

#include <istream>
#include <ostream>

#include "terminal_text.h"

namespace vtpm::ctl {

Outcome<Connection> Session::connect(Role role) {
  if (connection_ && (connected_as_ == Role::admin || role == Role::observe)) return *connection_;
  auto made = connect_first(candidates(role, environment_.run_dir, options_.socket));
  if (made) {
    connection_ = *made;
    connected_as_ = role;
  }
  return made;
}

void Session::print(std::string_view text) { environment_.out << text; }

void Session::print(const Table& table) {
  print(table.render(options_.color, environment_.columns));
}

bool Session::flush() { return static_cast<bool>(environment_.out.flush()); }

Exit Session::report(const Failure& failure) {
  environment_.err << "vtpmctl: " << printable(failure.message) << '\n';
  if (!failure.hint.empty()) environment_.err << "  hint: " << printable(failure.hint) << '\n';
  return failure.exit;
}

void Session::hint(std::string_view text) {
  if (!options_.quiet) environment_.err << "hint: " << text << '\n';
}

void Session::tip(std::string_view text) {
  if (environment_.err_is_terminal) hint(text);
}

}  // namespace vtpm::ctl
