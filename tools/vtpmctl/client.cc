// SPDX-License-Identifier: Apache-2.0
#include "client.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>
#include <poll.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace vtpm::ctl {
namespace {

constexpr timeval kConnectTimeout{5, 0};  // a full backlog of a hung vtpmd

std::string user_name(uid_t uid) {
  passwd entry{};
  passwd* found = nullptr;
  char buffer[4096];
  if (::getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found != nullptr) {
    return entry.pw_name;
  }
  return std::to_string(uid);
}

std::string group_name(gid_t gid) {
  group entry{};
  group* found = nullptr;
  char buffer[16384];
  if (::getgrgid_r(gid, &entry, buffer, sizeof buffer, &found) == 0 && found != nullptr) {
    return entry.gr_name;
  }
  return std::to_string(gid);
}

Failure not_connected(const std::filesystem::path& socket, int error) {
  const std::string path = socket.string();
  switch (error) {
    case EACCES:
    case EPERM: {
      const std::string owners = ownership(socket);
      return {Exit::permission, fmt::format("you may not use {}", path),
              owners.empty()
                  ? "run it as root"
                  : fmt::format("run it as root or join the socket's group ({})", owners)};
    }
    case ENOENT:
      return {Exit::unreachable, fmt::format("vtpmd is not reachable: there is no {}", path),
              "start it: systemctl start vtpmd; 'vtpmctl doctor' looks for causes"};
    case ECONNREFUSED:
      return {Exit::unreachable, fmt::format("vtpmd is not reachable: nobody listens on {}", path),
              "vtpmd has stopped: systemctl status vtpmd; 'vtpmctl doctor' looks for causes"};
    case ENAMETOOLONG:
      return {Exit::usage, fmt::format("the path of the socket is too long: {}", path),
              fmt::format("a unix socket's path has at most {} bytes",
                          sizeof(sockaddr_un::sun_path) - 1)};
    default:
      return {Exit::unreachable,
              fmt::format("vtpmd is not reachable at {}: {}", path, std::strerror(error)),
              "'vtpmctl doctor' looks for causes"};
  }
}

// Whether the other side has hung up. gRPC gives the same codes for that and for what vtpmd says.
bool is_cut(const Connection& connection) {
  constexpr int kGraceMs = 100;  // gRPC may tell us before it shuts the socket down
  pollfd line{connection.line->get(), POLLRDHUP, 0};
  return ::poll(&line, 1, kGraceMs) > 0 && (line.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

}  // namespace

std::vector<std::filesystem::path> candidates(Role role, const std::filesystem::path& run_dir,
                                              const std::filesystem::path& chosen) {
  if (!chosen.empty()) return {chosen};
  if (role == Role::admin) return {run_dir / "admin.sock"};
  return {run_dir / "observe.sock", run_dir / "admin.sock"};
}

int try_connect(const std::filesystem::path& socket, int* fd) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string& path = socket.native();
  if (path.size() >= sizeof address.sun_path) return ENAMETOOLONG;
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd connection(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!connection) return errno;
  (void)::setsockopt(connection.get(), SOL_SOCKET, SO_SNDTIMEO, &kConnectTimeout,
                     sizeof kConnectTimeout);
  int result = 0;
  do {
    result =
        ::connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  } while (result != 0 && errno == EINTR);
  if (result != 0) return errno;
  if (fd != nullptr) *fd = connection.release();
  return 0;
}

std::string ownership(const std::filesystem::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return {};
  return fmt::format("{}:{}, mode {:04o}", user_name(status.st_uid), group_name(status.st_gid),
                     status.st_mode & 07777U);
}

Outcome<Connection> connect_first(const std::vector<std::filesystem::path>& sockets) {
  Failure worst{Exit::unreachable, "there is no socket to try", ""};
  for (const auto& socket : sockets) {
    int fd = -1;
    const int error = try_connect(socket, &fd);
    if (error == 0) {
      (void)::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
      auto line = std::make_shared<UniqueFd>(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
      return Connection{grpc::CreateInsecureChannelFromFd("vtpmd", fd), socket, std::move(line)};
    }
    // "You may not" is worth more than "not there": it can be mended without touching vtpmd.
    Failure now = not_connected(socket, error);
    if (&socket == &sockets.front() ||
        (now.exit == Exit::permission && worst.exit != Exit::permission)) {
      worst = std::move(now);
    }
  }
  return tl::unexpected<Failure>(std::move(worst));
}

Failure failure_of(const grpc::Status& status, const grpc::ClientContext& context, Role role,
                   const Connection& connection) {
  Failure out{Exit::failed, status.error_message(), ""};
  const auto& trailer = context.GetServerTrailingMetadata();
  if (const auto hint = trailer.find("vtpm-hint"); hint != trailer.end()) {
    out.hint.assign(hint->second.data(), hint->second.size());
  }
  const auto default_hint = [&](std::string text) {
    if (out.hint.empty()) out.hint = std::move(text);
  };
  switch (status.error_code()) {
    case grpc::StatusCode::INVALID_ARGUMENT: out.exit = Exit::usage; break;
    case grpc::StatusCode::NOT_FOUND:
      out.exit = Exit::not_found;
      default_hint("'vtpmctl list' shows the devices there are");
      break;
    case grpc::StatusCode::ALREADY_EXISTS:
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::ABORTED: out.exit = Exit::conflict; break;
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
      out.exit = Exit::permission;
      default_hint("run it as root");
      break;
    case grpc::StatusCode::UNIMPLEMENTED:
      // gRPC itself says so of a service that the socket lacks, and has no words for it.
      if (role == Role::admin && status.error_message().empty()) {
        out.exit = Exit::permission;
        out.message = fmt::format("{} only observes", connection.socket.string());
        default_hint("use the admin socket: leave out --socket and VTPM_SOCKET, run it as root");
      } else if (status.error_message().empty()) {
        out.message = "vtpmd does not know this request";
        default_hint("vtpmd and vtpmctl have different versions: 'vtpmctl version'");
      }
      break;
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::UNKNOWN:
      if (out.hint.empty() && is_cut(connection)) {
        out.exit = Exit::unreachable;
        out.message = fmt::format("the connection to vtpmd broke: {}", status.error_message());
        default_hint("it may have been done: look with 'vtpmctl show'; systemctl status vtpmd");
      }
      break;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      if (std::chrono::system_clock::now() >= context.deadline()) {  // ours, not one of vtpmd's
        out.message = "vtpmd did not answer in time";
        default_hint("it may still be done: look with 'vtpmctl show'");
      }
      break;
    default: break;
  }
  if (out.message.empty()) {
    out.message =
        fmt::format("vtpmd gave error {} and no reason", static_cast<int>(status.error_code()));
  }
  return out;
}

}  // namespace vtpm::ctl
