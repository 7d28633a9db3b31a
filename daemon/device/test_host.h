// SPDX-License-Identifier: Apache-2.0
// For tests: a manager with the real engine in a temporary folder, socket nodes only, and a client
// of its devices.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <chrono>
#include <csignal>
#include <functional>
#include <thread>

#include "base/temporary_folder.h"
#include "device/manager.h"
#include "privsep/messages.h"

namespace vtpm::device::testing {

inline UniqueFd connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    fd.reset();
  return fd;
}

// One command over a connection of its own; empty if no reply came.
inline std::string send_command(const std::string& path, std::string_view hex) {
  const UniqueFd fd = connect_to(path);
  const auto frame = from_hex(hex);
  if (!fd || !frame) return {};
  if (::send(fd.get(), frame->data(), frame->size(), MSG_NOSIGNAL) < 0) return {};
  Bytes reply;
  while (reply.size() < 10 || reply.size() < load_be32(reply.data() + 2)) {
    std::array<std::byte, 4096> part{};
    pollfd wait{fd.get(), POLLIN, 0};
    if (::poll(&wait, 1, 10'000) != 1) return {};
    const ssize_t n = ::recv(fd.get(), part.data(), part.size(), 0);
    if (n <= 0) return {};
    reply.insert(reply.end(), part.begin(), part.begin() + n);
  }
  return to_hex(reply);
}
inline constexpr std::string_view kReadPcr16 =
    "80010000001400000"
    "17e00000001000b03000001";
inline std::string extend_pcr16(const std::string& path) {
  return send_command(path, "80020000004100000182000000100000000940000009000000000000000001000b" +
                                std::string(64, 'a'));
}
// The digest alone: the update counter before it is no part of what must stay.
inline std::string read_digest(const std::string& path, std::string_view command) {
  const std::string reply = send_command(path, command);
  return reply.size() > 64 ? reply.substr(reply.size() - 64) : reply;
}
inline std::string pcr16(const std::string& path) { return read_digest(path, kReadPcr16); }
// Where files are measured; see measured_file().
inline std::string pcr9(const View& view) {
  return read_digest(view.socket_path,
                     "80010000001400000"
                     "17e00000001000b03000200");
}
inline std::vector<Event> measured_file(std::uint8_t fill) {
  Event event;
  event.measurement.pcr = kFilePcr;
  event.measurement.digests.fill(std::byte{fill});
  event.what = "file";
  return {event};
}

class ManagerTest : public ::testing::Test {
 protected:
  ManagerTest() {
    // The engine of a sanitizer build: how its workers die is tested, not what they leak.
    ::setenv("ASAN_OPTIONS", "detect_leaks=0", 0);
  }
  ~ManagerTest() override { close(); }

  Result<void> try_open() {
    ManagerOptions options;
    options.state_dir = folder_ / "state";
    options.run_dir = folder_ / "run";
    options.engine_path = VTPM_ENGINE;
    options.kernel = false;
    options.volatile_on_any_filesystem = true;
    options.write_limit = write_limit_;
    options.quota = quota_;
    options.parking = parking_;
    options.identity_profile = privsep::IdentityProfile::ecc;  // no RSA key to wait for
    auto opened = Manager::open(options);
    if (!opened) return tl::unexpected<Error>(std::move(opened).error());
    manager_ = *std::move(opened);
    thread_ = std::thread([this] { (void)manager_->run(); });
    return {};
  }
  void open() {
    const auto opened = try_open();
    ASSERT_TRUE(opened) << opened.error().message;
  }
  void close() {
    if (!manager_) return;
    manager_->stop();
    thread_.join();
    manager_.reset();
  }
  static store::Settings settings(const std::string& name, bool read_only = false) {
    store::Settings s;
    s.name = name;
    s.kind = static_cast<std::uint8_t>(privsep::DeviceKind::container);
    s.mode = static_cast<std::uint8_t>(read_only ? privsep::DeviceMode::read_only
                                                 : privsep::DeviceMode::read_write);
    s.node = static_cast<std::uint8_t>(privsep::NodeKind::socket);
    return s;
  }
  View create(const std::string& name, bool start = true, bool read_only = false) {
    const auto view = manager_->create(settings(name, read_only), start);
    if (!view) {
      ADD_FAILURE() << view.error().message;
      return {};
    }
    return start ? wait_for_worker(name) : *view;
  }
  View show(const std::string& name) {
    const auto view = manager_->show(name);
    if (!view) ADD_FAILURE() << view.error().message;
    return view ? *view : View{};
  }
  // Waits until the device is as `wanted` says; its last view.
  View wait_for(const std::string& name, const std::function<bool(const View&)>& wanted) {
    View view = show(name);
    for (int i = 0; i < 1000 && !wanted(view); i++) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      view = show(name);
    }
    EXPECT_TRUE(wanted(view)) << name << " is " << to_string(view.phase) << ": " << view.failure;
    return view;
  }
  View wait_for_phase(const std::string& name, Phase phase) {
    return wait_for(name, [phase](const View& v) { return v.phase == phase; });
  }
  // A worker can be ready before the fork server has told its PID, and kill(0) is for ourselves.
  View wait_for_worker(const std::string& name) {
    return wait_for(name, [](const View& v) { return v.worker_pid > 0; });
  }
  // Kills the worker and waits for its successor, or for what is made of its death.
  View kill_worker(const std::string& name, int signal) {
    const View before = show(name);
    EXPECT_GT(before.worker_pid, 0);
    if (before.worker_pid > 0) ::kill(before.worker_pid, signal);
    return wait_for(name, [&](const View& v) {
      return v.phase == Phase::failed ||
             (v.phase == Phase::on && v.worker_pid != before.worker_pid && v.worker_pid != 0);
    });
  }
  // A failed device answers every command, PCRs included, with TPM_RC_FAILURE.
  void expect_failure(const View& view) {
    EXPECT_EQ(show(view.settings.name).phase, Phase::failed);
    std::string reply;
    for (int i = 0; i < 1000 && reply.empty(); i++) {  // until its worker listens
      reply = send_command(view.socket_path, kReadPcr16);
      if (reply.empty()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(reply, "80010000000a00000101");
    EXPECT_EQ(extend_pcr16(view.socket_path), "80010000000a00000101");
  }
  [[nodiscard]] std::string journal_of(const View& view) const {
    return folder_ / ("run/journal/" + view.uuid.to_string());
  }

  TemporaryFolder folder_;
  WriteLimit write_limit_;
  Quota quota_;
  ParkingOptions parking_;
  std::unique_ptr<Manager> manager_;
  std::thread thread_;
};

}  // namespace vtpm::device::testing
