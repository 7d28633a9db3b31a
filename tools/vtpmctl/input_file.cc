// SPDX-License-Identifier: Apache-2.0
#include "input_file.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>

namespace vtpm::ctl {

Outcome<std::string> read_file(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string content(kLargestInput + 1, '\0');
  file.read(content.data(), static_cast<std::streamsize>(content.size()));
  if (!file.is_open() || file.bad())
    return failure(Exit::failed, fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  content.resize(static_cast<std::size_t>(file.gcount()));
  if (content.size() > kLargestInput)
    return failure(Exit::failed, fmt::format("{} is longer than 1 MiB", path));
  return content;
}

}  // namespace vtpm::ctl
