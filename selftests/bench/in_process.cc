// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "engine/libtpms_host.h"
#include "subject.h"

namespace bench {
namespace {

class InProcess final : public Subject {
 public:
  explicit InProcess(std::unique_ptr<vtpm::engine::LibtpmsHost> tpm) : tpm_(std::move(tpm)) {}
  ByteView exchange(ByteView request, std::size_t /*size*/) override {
    const auto reply = tpm_->process(request, 0);
    if (!reply) die("libtpms: " + reply.error().message);
    return *reply;
  }

 private:
  std::unique_ptr<vtpm::engine::LibtpmsHost> tpm_;
};

}  // namespace

std::unique_ptr<Subject> open_libtpms() {
  auto tpm = vtpm::engine::LibtpmsHost::power_on({}, {});
  if (!tpm) die("libtpms does not start: " + tpm.error().message);
  return std::make_unique<InProcess>(*std::move(tpm));
}

}  // namespace bench
