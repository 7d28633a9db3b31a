// SPDX-License-Identifier: Apache-2.0
#include "device/event_logs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/unique_fd.h"
#include "store/private_file.h"

namespace vtpm::device {

Result<EventLogs> EventLogs::open(const std::string& run_dir) {
  VTPM_TRY(std::string own, store::make_private_folder(run_dir + "/measured"));
  std::string published = run_dir + "/eventlog";
  if (::mkdir(published.c_str(), 0755) != 0 && errno != EEXIST)
    return fail_errno("cannot make the folder " + published, errno);
  if (::chmod(published.c_str(), 0755) != 0)
    return fail_errno("cannot set the mode of the folder " + published, errno);
  return EventLogs(std::move(own), std::move(published));
}

Result<void> EventLogs::put(const Uuid& device, const std::string& name,
                            const std::vector<Event>& events) {
  const Bytes log = encode_event_log(events);
  VTPM_CHECK(write_own(device, log));
  return publish(name, log);
}

Result<void> EventLogs::keep(const Uuid& device, const std::vector<Event>& events) const {
  return write_own(device, encode_event_log(events));
}

Result<std::vector<Event>> EventLogs::kept(const Uuid& device) const {
  VTPM_TRY(const SecretBytes log, read_own(device));
  return decode_event_log(log);
}

Result<std::vector<Event>> EventLogs::get(const Uuid& device, const std::string& name) const {
  VTPM_TRY(const SecretBytes log, read_own(device));
  VTPM_TRY(auto events, decode_event_log(log));
  VTPM_CHECK(publish(name, log));
  return events;
}

Result<void> EventLogs::write_own(const Uuid& device, ByteView log) const {
  return store::write_private_file(own_ + "/" + device.to_string(), log, true, "the event log");
}

Result<SecretBytes> EventLogs::read_own(const Uuid& device) const {
  return store::read_private_file(own_ + "/" + device.to_string(), kMaxEventLog, "the event log");
}

void EventLogs::remove(const Uuid& device, const std::string& name) const {
  unpublish(name);
  drop(device);
}

void EventLogs::drop(const Uuid& device) const {
  (void)::unlink((own_ + "/" + device.to_string()).c_str());
}

void EventLogs::unpublish(const std::string& name) const { (void)::unlink(path(name).c_str()); }

// In place: a container that has the file mounted sees the new log. Its end is set last, so that a
// reader meets no empty file.
Result<void> EventLogs::publish(const std::string& name, ByteView log) const {
  const std::string file = path(name);
  const UniqueFd fd(
      ::open(file.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644));
  if (!fd) return fail_errno("cannot write " + file, errno);
  for (ByteView rest = log; !rest.empty();) {
    const ssize_t n =
        ::pwrite(fd.get(), rest.data(), rest.size(), static_cast<off_t>(log.size() - rest.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("cannot write " + file, errno);
    rest = rest.subspan(static_cast<std::size_t>(n));
  }
  if (::ftruncate(fd.get(), static_cast<off_t>(log.size())) != 0 || ::fchmod(fd.get(), 0644) != 0)
    return fail_errno("cannot write " + file, errno);
  return {};
}

}  // namespace vtpm::device
