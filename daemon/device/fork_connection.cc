// SPDX-License-Identifier: Apache-2.0
// How a ForkClient comes to its server, and what they say to each other first.
#include <sys/socket.h>

#include <cerrno>
#include <filesystem>
#include <thread>
#include <utility>

#include "base/log.h"
#include "device/fork_client.h"
#include "privsep/messages.h"
#include "privsep/rendezvous.h"

namespace vtpm::device {
namespace {

using privsep::ForkMessage;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kConnectLimit{30};    // a unit that is being restarted
constexpr timeval kAnswerLimit{60, 0};  // it may be executing itself anew, on a slow host
constexpr milliseconds kRetry{100};

}  // namespace

Result<void> ForkClient::start() {
  const auto deadline = std::chrono::steady_clock::now() + kConnectLimit;
  for (;;) {
    auto connected = connect();
    if (connected) {
      VTPM_TRY(const bool ours, greet());
      if (ours) break;
    } else if (!options_.external || connected.error().code != ErrorCode::unavailable) {
      return connected;
    }
    if (std::chrono::steady_clock::now() > deadline)
      return fail(ErrorCode::unavailable,
                  "no fork server that speaks our protocol listens on " + options_.socket_path,
                  "systemctl restart vtpm-engine");
    std::this_thread::sleep_for(kRetry);
  }
  VTPM_CHECK(loop_.watch(connection_.get(), [this] { on_readable(); }));
  send_waiting();
  return {};
}

Result<void> ForkClient::connect() {
  auto connected = privsep::connect_to_fork_server(options_.socket_path);
  if (!connected && connected.error().code == ErrorCode::unavailable && !options_.external) {
    VTPM_TRY(spawned_,
             privsep::spawn_fork_server(options_.engine_path,
                                        std::filesystem::absolute(options_.socket_path).string()));
    connected = privsep::connect_to_fork_server(options_.socket_path);
  }
  if (!connected) return tl::unexpected<Error>(std::move(connected).error());
  connection_ = *std::move(connected);
  (void)::setsockopt(connection_.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerLimit,
                     sizeof kAnswerLimit);
  return {};
}

Result<ForkMessage> ForkClient::receive(std::vector<UniqueFd>& descriptors) {
  VTPM_TRY(auto received, privsep::receive_datagram(connection_.get(), false));
  if (received.bytes.empty())
    return fail(ErrorCode::unavailable, "the fork server has closed its connection");
  descriptors = std::move(received.descriptors);
  return privsep::decode_fork(received.bytes);
}

// False: it was of another version and has ended; the next one may be ours.
Result<bool> ForkClient::greet() {
  std::vector<UniqueFd> descriptors;
  VTPM_TRY(const ForkMessage first, receive(descriptors));
  if (const auto* busy = std::get_if<privsep::Busy>(&first))
    return fail(ErrorCode::failed_precondition,
                "another vtpmd manages the workers of " + options_.socket_path + ": process " +
                    std::to_string(busy->pid),
                "stop it, or give this one a --run-dir of its own");
  const auto* welcome = std::get_if<privsep::Welcome>(&first);
  if (welcome == nullptr || descriptors.size() != 1)
    return fail(ErrorCode::corrupt,
                "what listens on " + options_.socket_path + " is no fork server");
  server_pidfd_ = std::move(descriptors[0]);
  server_pid_ = welcome->pid;
  if (welcome->protocol != privsep::kForkProtocol) {
    VTPM_CHECK(send_away_old_server(welcome->protocol));
    return false;
  }
  VTPM_CHECK(receive_inherited(welcome->workers));
  if (options_.open_control && !control_ && control_error_ == 0) VTPM_CHECK(receive_control());
  log::info("connected to the fork server", {{"pid", std::to_string(server_pid_)},
                                             {"engine", welcome->release},
                                             {"workers", std::to_string(welcome->workers)}});
  return true;
}

// Its workers die with it. All that they know is in journals and store, so the next ones go on.
Result<void> ForkClient::send_away_old_server(std::uint32_t protocol) {
  log::notice("the fork server is of another version: a new one takes its place",
              {{"its_protocol", std::to_string(protocol)},
               {"our_protocol", std::to_string(privsep::kForkProtocol)}});
  VTPM_CHECK(privsep::send_datagram(connection_.get(), encode(ForkMessage{privsep::End{}})));
  if (!server_ended(seconds(30)))
    return fail(ErrorCode::timed_out, "the old fork server does not end",
                "kill process " + std::to_string(server_pid_));
  forget_server();
  return {};
}

Result<void> ForkClient::receive_inherited(std::uint32_t count) {
  for (; count > 0; count--) {
    std::vector<UniqueFd> descriptors;
    VTPM_TRY(const ForkMessage message, receive(descriptors));
    const auto* told = std::get_if<privsep::Inherited>(&message);
    if (told == nullptr || descriptors.size() < 2)
      return fail(ErrorCode::corrupt, "the fork server does not say what workers it has");
    InheritedWorker worker;
    worker.pid = told->pid;
    worker.device = told->device;
    worker.incarnation = told->incarnation;
    worker.dead = told->dead;
    worker.wait_status = told->wait_status;
    worker.socket = std::move(descriptors[0]);
    if (!worker.dead) children_[worker.pid].pidfd = std::move(descriptors[1]);
    for (std::size_t i = 2; i < descriptors.size(); i++)
      worker.node.push_back(std::move(descriptors[i]));
    inherited_.push_back(std::move(worker));
  }
  return {};
}

// A worker may die before the answer comes.
Result<void> ForkClient::receive_control() {
  VTPM_CHECK(
      privsep::send_datagram(connection_.get(), encode(ForkMessage{privsep::OpenControl{}})));
  for (;;) {
    std::vector<UniqueFd> descriptors;
    VTPM_TRY(const ForkMessage message, receive(descriptors));
    if (const auto* control = std::get_if<privsep::Control>(&message)) {
      control_error_ = control->error;
      if (!descriptors.empty()) control_ = std::move(descriptors[0]);
      return {};
    }
    const auto* died = std::get_if<privsep::Died>(&message);
    if (died == nullptr)
      return fail(ErrorCode::corrupt, "the fork server answers what nobody asked");
    note_death(died->pid, {}, died->wait_status);
    children_.erase(died->pid);
  }
}

// After the server's death. Devices wait in `detached` meanwhile, and their requests here.
void ForkClient::reconnect() {
  timer_ = 0;
  const auto connected = connect();
  if (connected) {
    const auto greeted = greet();
    if (greeted && *greeted && loop_.watch(connection_.get(), [this] { on_readable(); })) {
      // Devices go on from their journals: a worker that somebody else left is in the way.
      for (const InheritedWorker& worker : std::exchange(inherited_, {})) kill(worker.pid);
      return send_waiting();
    }
    if (!greeted) log::error("the fork server", {{"why", greeted.error().message}});
    forget_server();
  } else if (!options_.external) {
    log::error("cannot start the fork server", {{"why", connected.error().message}});
  }
  timer_ = loop_.after(options_.external ? kRetry : milliseconds(1000), [this] { reconnect(); });
}

}  // namespace vtpm::device
