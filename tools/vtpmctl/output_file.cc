// SPDX-License-Identifier: Apache-2.0
#include "output_file.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace vtpm::ctl {

Outcome<void> write_file(const std::string& path, std::string_view bytes) {
  errno = 0;
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << bytes;
  out.close();
  if (!out)
    return failure(Exit::failed, fmt::format("cannot write {}: {}", path, std::strerror(errno)));
  return {};
}

Outcome<void> make_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error)
    return failure(Exit::failed,
                   fmt::format("cannot make the folder {}: {}", path, error.message()));
  return {};
}

}  // namespace vtpm::ctl
