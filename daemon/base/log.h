// SPDX-License-Identifier: Apache-2.0
// Structured log: one line a message, with fields. Goes to stderr; with systemd's priority prefix
// ("<4>") when stderr is the journal. Callers pass no secret and no bytes of a client.
//
//   log::warning("worker died", {{"device", name}, {"status", status}});
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace vtpm::log {

enum class Level { error = 3, warning = 4, notice = 5, info = 6, debug = 7 };

struct Field {
  std::string_view name;  // a-z and '_'
  std::string value;
};

// Names the program in each line; called once by main(), before any thread.
void set_program(std::string_view name);
void set_level(Level most_verbose);
void write(Level level, std::string_view message, std::initializer_list<Field> fields = {});

inline void error(std::string_view m, std::initializer_list<Field> f = {}) {
  write(Level::error, m, f);
}
inline void warning(std::string_view m, std::initializer_list<Field> f = {}) {
  write(Level::warning, m, f);
}
inline void notice(std::string_view m, std::initializer_list<Field> f = {}) {
  write(Level::notice, m, f);
}
inline void info(std::string_view m, std::initializer_list<Field> f = {}) {
  write(Level::info, m, f);
}
inline void debug(std::string_view m, std::initializer_list<Field> f = {}) {
  write(Level::debug, m, f);
}

}  // namespace vtpm::log
