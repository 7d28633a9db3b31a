// SPDX-License-Identifier: Apache-2.0
// The channel of a kernel node, over a port that makes one VTPM_IOC_XCHG.
//
// The port is there so that a test can play the kernel; production has one port, the engine fd.
// Source: uapi/linux/vtpm.h.
#pragma once

#include <linux/vtpm.h>

#include <memory>

#include "channel/channel.h"

namespace vtpm::channel {

class XchgPort {
 public:
  virtual ~XchgPort() = default;
  // Returns 0 or the errno of the ioctl; `call` carries its in and out fields.
  virtual int xchg(vtpm_xchg& call) = 0;
};

std::unique_ptr<Channel> make_kernel_channel(std::unique_ptr<XchgPort> port);

}  // namespace vtpm::channel
