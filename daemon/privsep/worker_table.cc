// SPDX-License-Identifier: Apache-2.0
#include "privsep/worker_table.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/bytes.h"

namespace vtpm::privsep {
namespace {

constexpr std::size_t kMaxTable = std::size_t{16} << 20;

bool set_close_on_exec(int fd, bool on) { return ::fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) == 0; }

// A descriptor as a field: it must be open, and is ours alone again.
UniqueFd read_descriptor(Reader& in) {
  const auto number = static_cast<std::int32_t>(in.u32());
  if (number < 0) return {};
  if (!in.ok() || !set_close_on_exec(number, true)) {
    in.fail();
    return {};
  }
  return UniqueFd(number);
}

std::pair<pid_t, ServedWorker> read_worker(Reader& in) {
  ServedWorker worker;
  const auto pid = static_cast<pid_t>(in.u32());
  worker.device.bytes = in.array<16>();
  worker.incarnation = in.u64();
  worker.dead = in.u8() != 0;
  worker.wait_status = static_cast<int>(in.u32());
  worker.pidfd = read_descriptor(in);
  for (std::uint8_t left = in.u8(); left > 0; left--)
    worker.for_manager.push_back(read_descriptor(in));
  return {pid, std::move(worker)};
}

Result<Bytes> read_table(int fd) {
  struct stat st{};
  if (::fstat(fd, &st) != 0 || st.st_size < 0 || static_cast<std::size_t>(st.st_size) > kMaxTable)
    return fail(ErrorCode::corrupt, "fork server: no table of workers");
  Bytes bytes(static_cast<std::size_t>(st.st_size));
  if (::pread(fd, bytes.data(), bytes.size(), 0) != st.st_size)
    return fail_errno("cannot read the table of workers", errno);
  return bytes;
}

}  // namespace

Result<int> save_state(const ServerState& state) {
  Bytes out;
  Writer w(out);
  bool kept = true;
  const auto descriptor = [&](const UniqueFd& fd) {
    if (fd) kept = set_close_on_exec(fd.get(), false) && kept;
    w.u32(static_cast<std::uint32_t>(fd.get()));
  };
  descriptor(state.listener);
  descriptor(state.manager);
  w.u32(static_cast<std::uint32_t>(state.manager_pid));
  w.u32(static_cast<std::uint32_t>(state.workers.size()));
  for (const auto& [pid, worker] : state.workers) {
    w.u32(static_cast<std::uint32_t>(pid)).bytes(worker.device.bytes).u64(worker.incarnation);
    w.u8(static_cast<std::uint8_t>(worker.dead))
        .u32(static_cast<std::uint32_t>(worker.wait_status));
    descriptor(worker.pidfd);
    w.u8(static_cast<std::uint8_t>(worker.for_manager.size()));
    for (const UniqueFd& fd : worker.for_manager) descriptor(fd);
  }
  if (!kept) return fail_errno("cannot keep a descriptor open", errno);
  UniqueFd memory(::memfd_create("vtpm-workers", 0));
  if (!memory || ::write(memory.get(), out.data(), out.size()) != static_cast<ssize_t>(out.size()))
    return fail_errno("cannot write the table of workers", errno);
  return memory.release();
}

Result<ServerState> restore_state(int number) {
  const UniqueFd memory(number);
  VTPM_TRY(const Bytes bytes, read_table(memory.get()));
  Reader in(bytes);
  ServerState state;
  state.listener = read_descriptor(in);
  state.manager = read_descriptor(in);
  state.manager_pid = static_cast<pid_t>(in.u32());
  for (std::uint32_t left = in.u32(); left > 0 && in.ok(); left--)
    state.workers.insert(read_worker(in));
  if (!in.done() || !state.listener)
    return fail(ErrorCode::corrupt, "fork server: the table of workers is malformed");
  return state;
}

}  // namespace vtpm::privsep
