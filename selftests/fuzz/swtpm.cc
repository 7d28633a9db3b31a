// SPDX-License-Identifier: Apache-2.0
// swtpm's protocol: its parser, and a whole socket channel between hostile clients and a worker.
//
//   0   UINT8   how many bytes the parser gets, and how much padding is due: two bits, six bits
//   1   those bytes; the rest is the script of the clients (peers.h)
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "channel/channel.h"
#include "channel/swtpm_protocol.h"
#include "check.h"
#include "frame/frame.h"
#include "peers.h"

namespace vtpm::fuzz {
namespace {

using namespace channel;

Peers* waiting = nullptr;  // whose turn it is when the channel waits

void parse(ByteView bytes, std::size_t padding) {
  using Status = swtpm::Parsed::Status;
  const swtpm::Parsed p = swtpm::parse(bytes, padding);
  FUZZ_CHECK(p.used <= bytes.size() && p.padding <= 3);
  switch (p.status) {
    case Status::incomplete:
      FUZZ_CHECK(p.used == 0 && p.padding == padding && bytes.size() < swtpm::kMaxRequest + 4);
      break;
    case Status::complete:
    case Status::unsupported: {
      FUZZ_CHECK(p.used >= 4 && p.used <= swtpm::kMaxRequest + padding);
      FUZZ_CHECK(static_cast<std::uint32_t>(p.command) >= 1 &&
                 static_cast<std::uint32_t>(p.command) <= 0x12);
      // What comes behind a request of fixed length changes nothing about it.
      Bytes more = to_bytes(bytes.first(p.used));
      if (p.padding == 0) more.resize(more.size() + 8, std::byte{0xff});
      const swtpm::Parsed again = swtpm::parse(more, padding);
      FUZZ_CHECK(again.status == p.status && again.used == p.used && again.command == p.command &&
                 again.argument == p.argument);
      break;
    }
    case Status::unframed: break;
  }
}

void serve(ByteView script) {
  constexpr std::uint64_t kFirst = 41;
  std::array<int, 2> manager{};
  FUZZ_CHECK(::pipe2(manager.data(), O_CLOEXEC) == 0);
  const UniqueFd wake(manager[0]);
  Listener data;
  Listener control;
  Peers peers(script, data, control, UniqueFd(manager[1]));
  waiting = &peers;
  const auto node = make_socket_channel(data.take(), control.take(), wake.get(), kFirst);

  std::uint64_t sequence = kFirst;
  Bytes bytes;
  Reply reply;
  bool owed = false;
  for (;;) {
    const auto event = node->exchange(owed ? &reply : nullptr);
    FUZZ_CHECK(event);
    owed = false;
    if (const auto* f = std::get_if<Frame>(&*event)) {
      FUZZ_CHECK(f->sequence == ++sequence && f->locality <= swtpm::kMaxLocality);
      peers.check_frame(f->bytes);
      bytes = peers.worker_reply();
      reply = {.sequence = f->sequence, .bytes = bytes};
      owed = true;
    } else if (const auto* c = std::get_if<Control>(&*event)) {
      FUZZ_CHECK(!c->keep_volatile && c->locality <= swtpm::kMaxLocality);
      const bool agreed = peers.worker_agrees();
      FUZZ_CHECK(node->complete_control(agreed, agreed));
      FUZZ_CHECK(!node->complete_control(agreed, agreed));  // nobody waits for a second answer
    } else {
      FUZZ_CHECK(std::holds_alternative<Wake>(*event));
      break;
    }
  }
  peers.check_end();
  waiting = nullptr;
}

}  // namespace
}  // namespace vtpm::fuzz

// The linker gives us the channel's poll() (--wrap).
extern "C" int __real_poll(pollfd* fds, nfds_t count, int timeout);
extern "C" int __wrap_poll(pollfd* fds, nfds_t count, int timeout) {
  for (;;) {
    const int ready = __real_poll(fds, count, 0);
    if (ready != 0 || timeout == 0 || vtpm::fuzz::waiting == nullptr) return ready;
    vtpm::fuzz::waiting->act();
  }
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vtpm;
  if (size == 0) return 0;
  ByteView input(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  const std::size_t parsed = std::min<std::size_t>(data[0] >> 2, input.size());
  const Bytes exact = to_bytes(input.first(parsed));
  fuzz::parse(exact, data[0] & 3);
  fuzz::serve(input.subspan(parsed));
  return 0;
}
