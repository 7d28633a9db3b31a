// SPDX-License-Identifier: Apache-2.0
// What a TPM is asked to do, again and again.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "frames.h"
#include "subject.h"

namespace bench {

// One at each subject. Whatever goes wrong ends the program.
class Work {
 public:
  explicit Work(std::string name) : name_(std::move(name)) {}
  virtual ~Work() = default;
  [[nodiscard]] const std::string& name() const { return name_; }

  // Makes there what the work needs, and takes it away again. False: the subject is read-only and
  // refuses this work. A ping-pong needs nothing.
  virtual bool prepare(Subject& /*subject*/) { return true; }
  virtual void finish(Subject& /*subject*/) {}

  // The next command. As long as it will be even if nothing was prepared, for a ping-pong.
  virtual const Bytes& request() = 0;
  // How long a ping-pong's answer shall be.
  [[nodiscard]] virtual std::size_t reply_size() const = 0;
  // Whether the reply to the last request() is what a TPM answers that has done it.
  virtual bool accept(ByteView reply) { return code_of(reply) == 0; }

 private:
  std::string name_;
};

// By name, or dies. `works()` says all names.
std::unique_ptr<Work> make_work(const std::string& name);
std::vector<std::string> works();

// At a subject that may be new: TPM2_Startup(CLEAR); dies unless it runs then.
void start(Subject& subject);

// Sends the request and gives the reply if the code is success; dies otherwise.
Bytes must(Subject& subject, ByteView request);

}  // namespace bench
