// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace vtpm::log {
namespace {

std::string& program() {
  static std::string name = "vtpm";
  return name;
}
std::atomic<Level>& limit() {
  static std::atomic<Level> level{Level::info};
  return level;
}

// JOURNAL_STREAM names the device and inode that stderr has if it is systemd's journal.
bool stderr_is_journal() {
  const char* stream = std::getenv("JOURNAL_STREAM");  // NOLINT(concurrency-mt-unsafe): read once
  struct stat st{};
  if (stream == nullptr || ::fstat(STDERR_FILENO, &st) != 0) return false;
  return std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino) == stream;
}

// Control characters would let a name, or an error text that quotes one, forge a second line.
char printable(char c) { return (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) ? '?' : c; }

void append_quoted(std::string& line, std::string_view value) {
  const bool plain = !value.empty() && value.find_first_of(" \"=\\") == std::string_view::npos;
  if (!plain) line += '"';
  for (const char c : value) {
    if (c == '"' || c == '\\') line += '\\';
    line += printable(c);
  }
  if (!plain) line += '"';
}

std::string_view word(Level level) {
  switch (level) {
    case Level::error: return "error";
    case Level::warning: return "warning";
    case Level::notice: return "notice";
    case Level::info: return "info";
    case Level::debug: return "debug";
  }
  return "info";
}

}  // namespace

void set_program(std::string_view name) { program() = name; }
void set_level(Level most_verbose) { limit() = most_verbose; }

void write(Level level, std::string_view message, std::initializer_list<Field> fields) {
  if (level > limit().load()) return;
  static const bool journal = stderr_is_journal();
  std::string line;
  if (journal)
    line = "<" + std::to_string(static_cast<int>(level)) + ">";
  else
    line.append(program()).append(": ").append(word(level)).append(": ");
  for (const char c : message) line += printable(c);
  for (const Field& field : fields) {
    line.append(" ").append(field.name).append("=");
    append_quoted(line, field.value);
  }
  line += '\n';
  // One write() a line: lines of several processes do not mix. A full or closed stderr loses it.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace vtpm::log
