// SPDX-License-Identifier: Apache-2.0
#include "channel/kernel_channel.h"

#include <sys/ioctl.h>

#include <cerrno>
#include <optional>
#include <utility>

namespace vtpm::channel {
namespace {

class EngineFd final : public XchgPort {
 public:
  explicit EngineFd(UniqueFd fd) : fd_(std::move(fd)) {}
  int xchg(vtpm_xchg& call) override {
    return ::ioctl(fd_.get(), VTPM_IOC_XCHG, &call) < 0 ? errno : 0;
  }

 private:
  UniqueFd fd_;
};

class KernelChannel final : public Channel {
 public:
  explicit KernelChannel(std::unique_ptr<XchgPort> port)
      : port_(std::move(port)), buffer_(VTPM_FRAME_MAX) {}

  Result<Event> exchange(const Reply* reply) override {
    // The last command may have carried a password. Only what was used is wiped: a few dozen
    // bytes of most commands, not the page.
    wipe(MutableByteView(buffer_).first(std::exchange(used_, 0)));

    vtpm_xchg call{};
    if (reply != nullptr) {
      if (reply->bytes.empty() || reply->bytes.size() > VTPM_FRAME_MAX) {
        return fail(ErrorCode::internal, "a reply must have 1 to 4096 bytes");
      }
      call.reply = reinterpret_cast<std::uintptr_t>(reply->bytes.data());
      call.reply_seq = reply->sequence;
      call.reply_len = static_cast<std::uint32_t>(reply->bytes.size());
    }
    for (;;) {
      call.size = sizeof(call);
      call.buf = reinterpret_cast<std::uintptr_t>(buffer_.data());
      call.buf_len = static_cast<std::uint32_t>(buffer_.size());
      call.frame = {};
      call.replied = 0;
      const int error = port_->xchg(call);
      // Whatever the wait said, the kernel has the reply: it must not be sent twice.
      if (call.replied != 0 || error == 0) drop_reply(call);
      if (error == 0) {
        VTPM_TRY(std::optional<Event> event, translate(call.frame));
        if (event) return *event;
        continue;
      }
      switch (error) {
        case EINTR: continue;
        case ESTALE:
          // The client has gone or its time is up. ESTALE without a reply would be no answer to
          // anything we asked, and asking again would spin.
          if (call.reply_len == 0) return fail_errno("fetch a command from the kernel", error);
          drop_reply(call);
          continue;
        case EPIPE: return Event(Closed{.fenced = true});
        case ESHUTDOWN: return Event(Closed{.fenced = false});
        case EBADMSG:
        case EMSGSIZE:
          return fail(ErrorCode::internal, "the kernel refused the engine's reply as malformed");
        case ENOTTY:
          return fail(ErrorCode::unavailable, "the engine fd is not one of vtpm.ko",
                      "check that the module and this program are of the same version");
        default: return fail_errno("exchange a frame with the kernel", error);
      }
    }
  }

  // A frame that comes with it is not answered: the kernel gives it to the next engine.
  Result<void> finish(const Reply& reply) override {
    vtpm_xchg call{};
    call.size = sizeof(call);
    call.flags = VTPM_XCHG_NOWAIT;
    call.reply = reinterpret_cast<std::uintptr_t>(reply.bytes.data());
    call.reply_seq = reply.sequence;
    call.reply_len = static_cast<std::uint32_t>(reply.bytes.size());
    call.buf = reinterpret_cast<std::uintptr_t>(buffer_.data());
    call.buf_len = static_cast<std::uint32_t>(buffer_.size());
    used_ = buffer_.size();
    const int error = port_->xchg(call);
    if (call.replied != 0 || error == 0 || error == ESTALE) return {};
    return fail_errno("send the last reply to the kernel", error);
  }

  Result<void> complete_control(bool /*ok*/, bool /*value*/) override {
    return fail(ErrorCode::failed_precondition, "a kernel node has no control channel");
  }

 private:
  static void drop_reply(vtpm_xchg& call) {
    call.reply = 0;
    call.reply_seq = 0;
    call.reply_len = 0;
  }

  // No event: a notice that asks nothing of the worker.
  Result<std::optional<Event>> translate(const vtpm_frame& header) {
    switch (header.type) {
      case VTPM_FRAME_WAKE: return Event(Wake{});
      case VTPM_FRAME_COMMAND: break;
      // CANCEL: a command is never cut short (the effect must be whole), so its reply is still
      // owed, is sent as always, and the kernel drops it. Types of a later kernel: the same.
      default: return std::nullopt;
    }
    if (header.len > buffer_.size()) {
      return fail(ErrorCode::internal, "the kernel announced a frame above 4096 bytes");
    }
    used_ = header.len;
    return Event(Frame{.sequence = header.seq,
                       .locality = header.locality,
                       .bootstrap = (header.flags & VTPM_FRAME_F_BOOTSTRAP) != 0,
                       .redelivered = (header.flags & VTPM_FRAME_F_REDELIVERED) != 0,
                       .bytes = ByteView(buffer_).first(used_)});
  }

  std::unique_ptr<XchgPort> port_;
  SecretBytes buffer_;
  std::size_t used_ = 0;  // bytes of the frame that was handed out last
};

}  // namespace

std::unique_ptr<Channel> make_kernel_channel(std::unique_ptr<XchgPort> port) {
  return std::make_unique<KernelChannel>(std::move(port));
}

std::unique_ptr<Channel> make_kernel_channel(UniqueFd engine_fd) {
  return make_kernel_channel(std::make_unique<EngineFd>(std::move(engine_fd)));
}

}  // namespace vtpm::channel
