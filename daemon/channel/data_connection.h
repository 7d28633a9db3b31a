// SPDX-License-Identifier: Apache-2.0
// One client of the data socket: raw TPM frames in, replies out, never waiting.
//
// A frame's length is in its header, so a frame may come in any pieces, and several may come at
// once; they are handed out one by one. A length below 10 or above 4096 cannot be skipped safely
// (the sender and we disagree about where the next frame begins): the connection ends.
// The descriptor may share its file description with another process (SET_DATAFD), so its flags
// are left alone and each call says MSG_DONTWAIT. Owned and used by the channel's one thread.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/unique_fd.h"

namespace vtpm::channel {

class DataConnection {
 public:
  enum class Input : std::uint8_t { incomplete, frame, bad_size };

  // `passed`: came by SET_DATAFD, not through the listener.
  DataConnection(UniqueFd socket, bool passed);

  [[nodiscard]] int fd() const { return socket_.get(); }
  [[nodiscard]] bool passed() const { return passed_; }

  // What is buffered now.
  [[nodiscard]] Input input() const;
  // Takes what the socket has. False: the client is gone.
  bool receive();
  // The first frame; valid until consume(). Only if input() is frame.
  [[nodiscard]] ByteView frame() const;
  // Wipes the first frame and moves up what follows.
  void consume();

  // Sends, or keeps what the socket does not take now. False: the client is gone.
  bool send(ByteView reply);
  bool flush();
  [[nodiscard]] bool has_output() const { return !output_.empty(); }

  // Nothing more is read; the connection ends when the output is out.
  void end_after_output() { ending_ = true; }
  [[nodiscard]] bool ending() const { return ending_; }

 private:
  UniqueFd socket_;
  bool passed_;
  bool ending_ = false;
  SecretBytes buffer_;    // one frame at most is incomplete, so 4096 bytes are enough
  std::size_t have_ = 0;  // bytes in buffer_
  SecretBytes output_;    // the part of replies that did not fit into the socket
};

}  // namespace vtpm::channel
