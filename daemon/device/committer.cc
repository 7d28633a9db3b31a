// SPDX-License-Identifier: Apache-2.0
#include "device/committer.h"

#include <utility>

namespace vtpm::device {

void Committer::add(const store::Record& record, const Checkpoint& checkpoint, Done done,
                    const Birth& birth) {
  auto request = vault_.prepare(record, checkpoint, birth);
  if (!request) {
    done(tl::unexpected<Error>(std::move(request).error()), {});
    return;
  }
  requests_.push_back(*std::move(request));
  callbacks_.push_back(std::move(done));
}

void Committer::flush() {
  if (requests_.empty()) return;
  const auto requests = std::exchange(requests_, {});
  const auto callbacks = std::exchange(callbacks_, {});
  auto results = records_.commit_all(requests);
  for (std::size_t i = 0; i < callbacks.size(); i++)
    callbacks[i](std::move(results[i]), requests[i].wrapped_key);
}

}  // namespace vtpm::device
