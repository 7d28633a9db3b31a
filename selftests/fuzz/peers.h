// SPDX-License-Identifier: Apache-2.0
// The clients of a socket node under test: what the input makes them do, and what they remember.
//
// One thread is enough: the channel waits in poll() alone, so poll() is where its peers act. Each
// wait that would last does the next operation of the input. When the input is used up, the peers
// hang up, and one last client of each socket comes: whatever happened before, it is served.
#pragma once

#include <deque>
#include <map>
#include <vector>

#include "base/bytes.h"
#include "base/unique_fd.h"

namespace vtpm::fuzz {

// A listening unix socket with a name of the kernel's choice.
class Listener {
 public:
  Listener();
  UniqueFd take() { return std::move(fd_); }
  // An invalid descriptor: the backlog is full.
  [[nodiscard]] UniqueFd connect() const;

 private:
  UniqueFd fd_;
  Bytes name_;
};

// What went through one data connection, seen from its client.
struct DataPeer {
  UniqueFd fd;
  Bytes sent;
  Bytes received;

  void send(ByteView bytes);
  void receive();
  // How often this is a frame of what was sent.
  [[nodiscard]] std::size_t count(ByteView frame) const;
};

class Peers {
 public:
  Peers(ByteView script, Listener& data, Listener& control, UniqueFd manager);

  // The channel would wait. False: there is nothing more to do, and nothing that it must do.
  void act();

  // The worker has got these bytes.
  void check_frame(ByteView frame);
  void check_end() const;
  // What the worker does is the input's choice, until the last clients come.
  bool worker_agrees();
  Bytes worker_reply();

 private:
  void operation();
  void finish();
  DataPeer& data();
  void control_send(ByteView bytes, std::vector<int> descriptors = {});
  void pass_data_connection(ByteView request);

  Reader script_;
  Listener& data_listener_;
  Listener& control_listener_;
  UniqueFd manager_;
  std::deque<DataPeer> data_;  // the last one is the one in use
  UniqueFd control_;
  int stage_ = 0;
  std::map<Bytes, std::size_t> handed_out_;  // how often the worker has got a frame
};

}  // namespace vtpm::fuzz
