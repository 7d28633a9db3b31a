// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "device/node.h"

namespace vtpm::device {
namespace {

// A listening stream socket that nobody but its owner can reach. The mode is set on the socket
// before it gets its name: fchmod() before bind() is what bind() applies.
Result<UniqueFd> listen_on(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return fail(ErrorCode::invalid_argument, fmt::format("socket path {} is too long", path),
                fmt::format("use a path of at most {} bytes", sizeof address.sun_path - 6));
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd || ::fchmod(fd.get(), 0600) != 0) return fail_errno("cannot make a socket", errno);
  // Only a socket is ever removed: a path that names a file is the user's mistake, not ours to
  // mend.
  struct stat old{};
  if (::lstat(path.c_str(), &old) == 0) {
    if (!S_ISSOCK(old.st_mode))
      return fail(ErrorCode::exists, path + " exists and is no socket", "choose another path");
    (void)::unlink(path.c_str());
  }
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  if (::bind(fd.get(), raw, sizeof address) != 0 || ::listen(fd.get(), 16) != 0)
    return fail_errno("cannot listen on " + path, errno);
  return fd;
}

// Is this the socket that clients find there?
bool listens_on(int fd, const std::string& path) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  int listening = 0;
  socklen_t option = sizeof listening;
  struct stat there{};
  return ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0 &&
         address.sun_family == AF_UNIX &&
         path ==
             std::string(address.sun_path, ::strnlen(address.sun_path, sizeof address.sun_path)) &&
         ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &option) == 0 && listening == 1 &&
         ::lstat(path.c_str(), &there) == 0 && S_ISSOCK(there.st_mode);
}

class SocketNode final : public Node {
 public:
  SocketNode(const store::Settings& settings, const std::string& folder)
      : path_(settings.socket_path.empty() ? folder + "/" + settings.name : settings.socket_path) {}
  ~SocketNode() override { remove(); }

  Result<std::vector<UniqueFd>> power_on() override {
    VTPM_TRY(data_, listen_on(path_));
    VTPM_TRY(control_, listen_on(path_ + ".ctrl"));
    return duplicates();
  }
  // The listeners are kept here, so clients find the same socket whatever worker serves it.
  Result<std::vector<UniqueFd>> attach(const PowerId&) override {
    return data_ ? duplicates() : power_on();
  }
  Result<std::vector<UniqueFd>> power_cycle() override { return attach({}); }
  bool adopt(std::vector<UniqueFd> descriptors) override {
    if (descriptors.size() != 2 || !listens_on(descriptors[0].get(), path_) ||
        !listens_on(descriptors[1].get(), path_ + ".ctrl"))
      return false;
    data_ = std::move(descriptors[0]);
    control_ = std::move(descriptors[1]);
    return true;
  }
  void leave() override {
    data_.reset();
    control_.reset();
  }
  void wake() override {}  // the worker polls its manager's socket itself
  Result<bool> destroy() override {
    remove();
    return true;
  }
  Result<void> release_number() override { return {}; }
  std::vector<int> doors() const override {
    if (!data_) return {};
    return {data_.get(), control_.get()};
  }
  bool exists() const override { return data_.valid(); }
  bool registers() const override { return false; }
  PowerId power_id() const override { return {}; }
  std::string socket_path() const override { return path_; }

 private:
  Result<std::vector<UniqueFd>> duplicates() const {
    std::vector<UniqueFd> out;
    for (const int fd : {data_.get(), control_.get()}) {
      out.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
      if (!out.back()) return fail_errno("cannot duplicate a socket", errno);
    }
    return out;
  }
  void remove() {
    if (!data_) return;
    (void)::unlink(path_.c_str());
    (void)::unlink((path_ + ".ctrl").c_str());
    data_.reset();
    control_.reset();
  }

  std::string path_;
  UniqueFd data_;
  UniqueFd control_;
};

}  // namespace

std::unique_ptr<Node> make_socket_node(const store::Settings& settings, const std::string& folder) {
  return std::make_unique<SocketNode>(settings, folder);
}

}  // namespace vtpm::device
