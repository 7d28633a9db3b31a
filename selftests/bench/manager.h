// SPDX-License-Identifier: Apache-2.0
// vtpmd, by its API, for programs that time it: one connection, kept open. Any thread may call;
// whatever goes wrong ends the program.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/vtpm.grpc.pb.h"
#include "subject.h"

namespace bench {

namespace v1 = vtpm::v1;

class Manager {
 public:
  // By the path of its admin socket.
  explicit Manager(const std::string& socket);

  v1::Device create(const v1::CreateRequest& request);
  v1::Device clone(const v1::CloneRequest& request);
  void snapshot(const std::string& name);  // DEVICE@SNAPSHOT
  void roll_back(const std::string& snapshot);
  v1::Device start(const std::string& name);
  v1::Device set_mode(const std::string& name, v1::Mode mode);
  v1::Device park(const std::string& name);
  v1::Device show(const std::string& name);
  std::vector<v1::Device> list();
  void stop(const std::string& name);  // gives back its number
  void remove(const std::string& name);

 private:
  std::unique_ptr<v1::Observe::Stub> observe_;
  std::unique_ptr<v1::Admin::Stub> admin_;
};

// A device with nothing but a name, on a kernel node or on a socket.
v1::CreateRequest request_for(const std::string& name, v1::Mode mode, v1::Node node);

// A clone that is started.
v1::CloneRequest clone_request_for(const std::string& source, const std::string& name,
                                   v1::Mode mode);

std::unique_ptr<Subject> open_device(const v1::Device& device);

// What sync_clock.cc has counted: syncs of vtpmd and the time that they took.
class SyncClock {
 public:
  struct Reading {
    std::uint64_t syncs = 0;
    double microseconds = 0;
  };
  // Without a path all readings are zero.
  explicit SyncClock(const std::string& path);
  [[nodiscard]] Reading now() const;

 private:
  const volatile std::uint64_t* words_ = nullptr;
};

}  // namespace bench
