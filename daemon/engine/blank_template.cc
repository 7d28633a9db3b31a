// SPDX-License-Identifier: Apache-2.0
#include "engine/blank_template.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/checkpoint.h"
#include "base/unique_fd.h"
#include "engine/libtpms_host.h"
#include "engine/state_blob.h"

namespace vtpm::engine {
namespace {

Result<SecretBytes> manufacture_blank() {
  VTPM_TRY(const auto tpm, LibtpmsHost::power_on({}, {}));
  return make_blank(tpm->permanent());
}

// The child's whole life. Exits without running handlers that belong to the parent.
[[noreturn]] void child_main(int out) {
  const auto blank = manufacture_blank();
  ByteView rest;
  if (blank) rest = *blank;
  while (!rest.empty()) {
    const ssize_t n = ::write(out, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) ::_exit(EXIT_FAILURE);
    rest = rest.subspan(static_cast<std::size_t>(n));
  }
  ::_exit(blank ? EXIT_SUCCESS : EXIT_FAILURE);
}

Result<Bytes> read_to_end(int fd) {
  Bytes all;
  std::array<std::byte, 4096> part{};
  for (;;) {
    const ssize_t n = ::read(fd, part.data(), part.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("cannot read the blank state", errno);
    if (n == 0) return all;
    all.insert(all.end(), part.begin(), part.begin() + n);
    if (all.size() > kMaxPermanentState)
      return fail(ErrorCode::internal, "the blank state is too large");
  }
}

Result<Bytes> make_template() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno("pipe", errno);
  UniqueFd in(ends[0]);
  UniqueFd out(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return fail_errno("fork", errno);
  if (child == 0) child_main(out.get());
  out.reset();
  auto blob = read_to_end(in.get());
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!blob) return blob;
  if (status != 0)
    return fail(ErrorCode::internal, "libtpms does not make a state to take the blank state from",
                "see whether the installed libtpms is version 0.9");
  VTPM_TRY(const bool blank, is_blank(*blob));
  if (!blank) return fail(ErrorCode::internal, "the blank state is not blank");
  return blob;
}

}  // namespace

Result<ByteView> blank_template() {
  static const Result<Bytes> made = make_template();
  if (!made) return tl::unexpected<Error>(made.error());
  return ByteView(*made);
}

}  // namespace vtpm::engine
