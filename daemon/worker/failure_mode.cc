// SPDX-License-Identifier: Apache-2.0
#include "worker/failure_mode.h"

#include <algorithm>
#include <array>

#include "frame/frame.h"
#include "privsep/messages.h"

namespace vtpm::worker {
namespace {

// From TPM_PT_MANUFACTURER on (Part 2, 6.13); a test holds them against the engine's.
constexpr std::uint32_t kFirstProperty = 0x105;
constexpr std::array<std::uint32_t, 8> kProperties{
    0x49424d00,                    // TPM_PT_MANUFACTURER: "IBM"
    0x53572020, 0x2054504d, 0, 0,  // TPM_PT_VENDOR_STRING_1 to 4: "SW   TPM"
    1,                             // TPM_PT_VENDOR_TPM_TYPE
    0x20191023, 0x00163636,        // TPM_PT_FIRMWARE_VERSION_1 and 2
};

Bytes with_header(ByteView parameters) {
  Bytes reply;
  Writer(reply)
      .u16(frame::kTagNoSessions)
      .u32(static_cast<std::uint32_t>(frame::kHeaderSize + parameters.size()))
      .u32(frame::kRcSuccess)
      .bytes(parameters);
  return reply;
}

Bytes test_result() {
  Bytes parameters;
  Writer(parameters).u16(0).u32(frame::kRcFailure);
  return with_header(parameters);
}

Bytes properties(std::uint32_t first, std::uint32_t count) {
  const std::uint32_t begin = std::max(first, kFirstProperty) - kFirstProperty;
  const std::uint32_t there =
      begin < kProperties.size() ? static_cast<std::uint32_t>(kProperties.size()) - begin : 0;
  const std::uint32_t given = std::min(count, there);
  Bytes parameters;
  Writer w(parameters);
  w.u8(static_cast<std::uint8_t>(given < there)).u32(frame::kCapTpmProperties).u32(given);
  for (std::uint32_t i = 0; i < given; i++)
    w.u32(kFirstProperty + begin + i).u32(kProperties.at(begin + i));
  return with_header(parameters);
}

}  // namespace

Bytes failure_reply(ByteView command) {
  Reader in(command);
  const bool plain = in.u16() == frame::kTagNoSessions && in.u32() == command.size();
  const std::uint32_t code = in.u32();
  if (plain && in.done() && code == frame::kCcGetTestResult) return test_result();
  if (plain && in.ok() && code == frame::kCcGetCapability) {
    const std::uint32_t capability = in.u32();
    const std::uint32_t first = in.u32();
    const std::uint32_t count = in.u32();
    if (in.done() && capability == frame::kCapTpmProperties) return properties(first, count);
  }
  const auto refusal = frame::reply_header(frame::kRcFailure);
  return {refusal.begin(), refusal.end()};
}

Result<void> serve_failure(channel::Channel& channel, int manager) {
  using Kind = channel::Control::Kind;
  const auto send = [manager](const privsep::Message& message) {
    return privsep::send_datagram(manager, encode(message));
  };
  VTPM_CHECK(send(privsep::Ready{}));
  Bytes bytes;
  channel::Reply reply;
  const channel::Reply* pending = nullptr;
  for (;;) {
    VTPM_TRY(const channel::Event event, channel.exchange(pending));
    pending = nullptr;
    if (const auto* frame = std::get_if<channel::Frame>(&event)) {
      bytes = failure_reply(frame->bytes);
      reply = {.sequence = frame->sequence, .bytes = bytes};
      pending = &reply;
    } else if (const auto* request = std::get_if<channel::Control>(&event)) {
      const bool shutdown = request->kind == Kind::shutdown;
      VTPM_CHECK(channel.complete_control(shutdown || request->kind == Kind::stop, false));
      if (shutdown) return send(privsep::Stopped{.sequence = 0, .asked_by_host = true});
    } else if (std::holds_alternative<channel::Wake>(event)) {
      // Stop is all that a manager has to say here. Nothing there: the wake was an earlier one's.
      auto received = privsep::receive_datagram(manager, true);
      if (!received && received.error().code == ErrorCode::busy) continue;
      if (!received) return tl::unexpected<Error>(std::move(received).error());
      if (received->bytes.empty()) return {};
      VTPM_TRY(const privsep::Message message, privsep::decode(received->bytes));
      if (!std::holds_alternative<privsep::Stop>(message))
        return fail(ErrorCode::internal, "the manager sent a message that a worker does not take");
      return send(privsep::Stopped{});
    } else {
      return {};  // another engine has taken over, or the device is gone
    }
  }
}

}  // namespace vtpm::worker
