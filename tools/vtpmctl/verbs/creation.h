// SPDX-License-Identifier: Apache-2.0
// What the verbs that make devices share: create, clone and template.
#pragma once

#include <optional>

#include "verbs/verbs.h"

namespace vtpm::ctl {

// Settings of a new device; what is empty is vtpmd's to choose, or that of `from`.
struct NewDevice {
  std::optional<std::string> from;
  std::string kind;
  std::optional<std::string> owner;
  std::string node;
  std::string compat;
  std::string command_timeout;
  std::string detach_timeout;
  std::string park_after;
  std::string cert_profile;
  bool operator==(const NewDevice&) const = default;
};
void declare_settings(Arguments& arguments, NewDevice& device);
Outcome<v1::CreateRequest> request_of(const NewDevice& device);

// Has `make` make a device of each name and says what they are; `started`: and how to use them.
Exit create_each(Session& session, const std::vector<std::string>& names, bool started,
                 const std::function<Outcome<v1::Device>(const std::string&)>& make);

// A path is where one device is, as vtpmd sees it. Empty is good.
Outcome<void> check_socket_path(const std::string& path, const std::vector<std::string>& names);

}  // namespace vtpm::ctl
