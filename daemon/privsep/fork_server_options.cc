// SPDX-License-Identifier: Apache-2.0
#include "privsep/fork_server_options.h"

#include <pwd.h>
#include <unistd.h>

#include <charconv>
#include <string_view>

namespace vtpm::privsep {
namespace {

Result<int> descriptor(std::string_view text) {
  int number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 3)
    return fail(ErrorCode::invalid_argument, "'" + std::string(text) + "' is no descriptor");
  return number;
}

// A name or a number. What execs itself anew gives the number: a name is looked for in ways, such
// as by a socket of nscd, that its filter of system calls does not know.
Result<uid_t> user(std::string_view name) {
  uid_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error == std::errc() && end == name.data() + name.size()) return number;
  const passwd* entry =
      ::getpwnam(std::string(name).c_str());  // NOLINT(concurrency-mt-unsafe): one thread
  if (entry == nullptr)
    return fail(ErrorCode::not_found, "there is no user " + std::string(name),
                "systemd-sysusers makes it, from vtpm.conf");
  return entry->pw_uid;
}

}  // namespace

Result<ForkServerOptions> parse_fork_server_options(int argc, char** argv) {
  ForkServerOptions options;
  options.manager = ::geteuid();
  for (int i = 1; i < argc; i += 2) {
    const std::string_view word = argv[i];
    if (i + 1 == argc)
      return fail(ErrorCode::invalid_argument, std::string(word) + " wants a value");
    const char* value = argv[i + 1];
    if (word == "--socket") {
      options.socket_path = value;
    } else if (word == "--manager-user") {
      VTPM_TRY(options.manager, user(value));
    } else if (word == "--ready-fd") {
      VTPM_TRY(options.ready_fd, descriptor(value));
    } else if (word == "--resume") {
      VTPM_TRY(options.resume_fd, descriptor(value));
    } else {
      return fail(ErrorCode::invalid_argument, "there is no option " + std::string(word));
    }
  }
  if (options.socket_path.empty())
    return fail(ErrorCode::invalid_argument, "--socket PATH is missing");
  return options;
}

}  // namespace vtpm::privsep
