// SPDX-License-Identifier: Apache-2.0
// How the manager's public calls get to the loop's thread. For its own sources.
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <utility>

#include "device/manager.h"

namespace vtpm::device {

template <class T>
Result<T> Manager::on_loop(std::function<void(std::function<void(Result<T>)>)> work) {
  auto promise = std::make_shared<std::promise<Result<T>>>();
  auto future = promise->get_future();
  const auto stopping = [] {
    return fail(ErrorCode::unavailable, "vtpmd is stopping", "try again soon");
  };
  const bool taken = loop_->post([this, promise, stopping, work = std::move(work)] {
    if (stopping_) return promise->set_value(stopping());
    work([promise](Result<T> result) { promise->set_value(std::move(result)); });
  });
  if (!taken) return stopping();
  // Each transition has a limit of its own; this one is for a loop that nobody runs.
  if (future.wait_for(std::chrono::minutes(3)) != std::future_status::ready)
    return fail(ErrorCode::timed_out, "vtpmd did not answer", "see its log");
  return future.get();
}

}  // namespace vtpm::device
